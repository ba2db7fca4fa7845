namespace KvCache.Bench.Strategies;

/// <summary>The calls of a strategy to an <see cref="IKvCache"/>. A node serves one request at a time, and waits.</summary>
internal static class CacheCalls
{
    /// <summary>Looks up, and loads what was found.</summary>
    public static int Load(IKvCache cache, KvPrefix prefix, IReadOnlyList<Memory<byte>> destinations)
    {
        var found = Wait(cache.MatchAsync(prefix)).Blocks;
        return found == 0 ? 0 : Wait(cache.LoadAsync(prefix, 0, [.. destinations.Take(found)])).Blocks;
    }

    /// <summary>Stores what was computed.</summary>
    public static void Store(IKvCache cache, KvPrefix prefix, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        if (first < prefix.BlockCount)
            Wait(cache.StoreAsync(
                prefix, first, [.. sources.Skip(first)],
                new StoreOptions(SuffixTokens: (prefix.BlockCount - first) * prefix.Chain.TokensPerBlock)));
    }

    public static void Dispose(IAsyncDisposable cache) => cache.DisposeAsync().AsTask().GetAwaiter().GetResult();

    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();
}
