namespace KvCache.Bench.Simulation;

/// <summary>A cache of blocks with an eviction policy.</summary>
internal interface ISimulatedCache : IDisposable
{
    /// <summary>Looks a chain up as a prefix, up to the first miss, then stores all of its blocks.</summary>
    /// <param name="chain">Blocks of a request, first block first.</param>
    /// <returns>Blocks found.</returns>
    int Serve(ReadOnlySpan<int> chain);
}
