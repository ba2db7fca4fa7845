using Xunit.Sdk;
using Xunit.v3;

// Silos, bandwidth and cores are shared by all tests of this program.
[assembly: Parallelization(Mode = ParallelMode.None)]
