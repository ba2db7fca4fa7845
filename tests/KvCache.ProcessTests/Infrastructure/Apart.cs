using Xunit.Sdk;
using Xunit.v3;

// Most tests wait for silos most of the time, so a few classes run side by side.
[assembly: Parallelization(Mode = ParallelMode.Collections, MaxThreads = 4)]

namespace KvCache.ProcessTests;

/// <summary>
/// Classes that judge times, allocations or memory: nothing else runs meanwhile. Those that only kill or pause silos under a deadline have
/// the trait <c>run=kills</c>: <c>test.sh</c> runs them beside one another, when its other lanes have ended.
/// </summary>
[CollectionDefinition(DisableParallelization = true)]
[Trait("run", "apart")]
public sealed class Apart;
