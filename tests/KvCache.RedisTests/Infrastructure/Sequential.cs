using Xunit.Sdk;
using Xunit.v3;

// Deadlines and allocations are measured: nothing else of this program may run beside a test.
[assembly: Parallelization(Mode = ParallelMode.None)]
