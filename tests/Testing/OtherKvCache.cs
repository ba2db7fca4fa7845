using KvCache.Orleans;

namespace KvCache.Testing;

/// <summary>A cache that is like another one but for what a test overrides. What loads or stores by layers takes the interface's own way,
/// over whole blocks. Disposing it leaves the other one alone.</summary>
internal abstract class OtherKvCache(IKvCache cache) : IKvCache
{
    public virtual CacheCapabilities Capabilities => CacheCapabilities.None;

    protected IKvCache Inner => cache;

    public virtual ValueTask<CacheMatch> MatchAsync(
        KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        cache.MatchAsync(prefix, hold, cancellationToken);

    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        cache.MatchAsync(group, chain, hold, cancellationToken);

    public virtual ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default) =>
        cache.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);

    public virtual ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default) =>
        cache.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);

    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default) =>
        cache.PinAsync(prefix, duration, cancellationToken);

    public ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default) =>
        cache.ExpireAsync(prefix, timeToLive, cancellationToken);

    public ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default) =>
        cache.HintAsync(prefix, hint, cancellationToken);

    public ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default) =>
        cache.ClearAsync(ns, cancellationToken);

    public ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default) =>
        cache.DeleteAsync(prefix, cancellationToken);

    public ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default) =>
        cache.GetStatisticsAsync(cancellationToken);

    public void ResetStatistics() => cache.ResetStatistics();

    public ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default) => cache.GetHealthAsync(cancellationToken);

    public void Dispose()
    {
    }

    public ValueTask DisposeAsync() => default;
}
