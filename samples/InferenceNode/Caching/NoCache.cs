namespace KvCache.InferenceNode.Caching;

/// <summary>A cache that keeps nothing, so that a run without a cache takes the same way through the code as one with it.</summary>
internal sealed class NoCache : IKvCache
{
    public CacheCapabilities Capabilities => CacheCapabilities.None;

    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        new(new CacheMatch(0, prefix.Chain.TokensPerBlock, MissReason.Absent));

    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        new(new CacheMatch(0, chain.TokensPerBlock, MissReason.Absent));

    public ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default) =>
        new(new LoadResult(0, MissReason.Absent));

    public ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default) =>
        new(default(StoreResult));

    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default) => new(0);

    public ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default) => new(0);

    public ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default) =>
        new(new DeleteResult(0, IsConfirmed: true));

    public ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default) =>
        new(new DeleteResult(0, IsConfirmed: true));

    public ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default) => new(new KvCacheStatistics
    {
        Hits = 0,
        Misses = new Dictionary<MissReason, long>(),
        Stored = 0,
        LoadedBytes = 0,
        LoadedTokens = 0,
        StoredBytes = 0,
        Match = default,
        Load = default,
        Store = default,
        MemoryBytes = 0,
    });

    public void ResetStatistics()
    {
    }

    public ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default) =>
        new(new CacheHealth(IsAvailable: true, TimeSpan.Zero, Problem: null));

    public void Dispose()
    {
    }

    public ValueTask DisposeAsync() => default;
}
