namespace KvCache.Benchmarks.Strategies;

/// <summary>Every node has a cache of its own: a client of what all share, or one that no other node sees.</summary>
/// <param name="name">Row suffix.</param>
/// <param name="ns">Namespace of the blocks.</param>
/// <param name="caches">One a node. The strategy owns them.</param>
internal class CacheStrategy(string name, CacheNamespace ns, IReadOnlyList<IKvCache> caches) : ICacheStrategy
{
    public string Name => name;

    /// <summary>Namespace of the blocks.</summary>
    protected CacheNamespace Namespace => ns;

    /// <summary>One a node.</summary>
    protected IReadOnlyList<IKvCache> Caches => caches;

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var prefix = new KvPrefix(Namespace, prompt);
        var found = Wait(Caches[node].MatchAsync(prefix)).Blocks;
        return found == 0 ? 0 : Wait(Caches[node].LoadAsync(prefix, 0, [.. destinations.Take(found)])).Blocks;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        if (first < prompt.BlockCount)
            Wait(Caches[node].StoreAsync(
                new KvPrefix(Namespace, prompt), first, [.. sources.Skip(first)],
                new StoreOptions(SuffixTokens: (prompt.BlockCount - first) * prompt.TokensPerBlock)));
    }

    public virtual void Dispose()
    {
        foreach (var cache in Caches)
            cache.DisposeAsync().AsTask().GetAwaiter().GetResult();
        GC.SuppressFinalize(this);
    }

    // A node serves one request at a time, and waits.
    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();
}
