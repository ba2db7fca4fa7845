using KvCache.Client.Caching;

namespace KvCache.Client;

/// <summary>
/// A near cache over a far one: loads take from the near one what it has and keep there what came from the far one.
/// </summary>
/// <remarks>
/// Blocks are immutable, so the near cache is never stale; only a delete by another client is seen late. Copies that a load
/// makes in the near cache therefore live at most <see cref="NearLife"/>. A delete through this cache wins over loads that run
/// meanwhile: when it has returned, nothing of what it deleted is in the near cache.
/// </remarks>
/// <param name="near">Usually a <see cref="LocalKvCache"/>.</param>
/// <param name="far">Usually a <see cref="KvCacheClient"/>.</param>
public sealed partial class TieredKvCache(IKvCache near, IKvCache far) : IKvCache
{
    private readonly RefillGate _refills = new();

    /// <summary>Longest life of a copy in the near cache. Default 5 minutes.</summary>
    public TimeSpan NearLife { get; init; } = TimeSpan.FromMinutes(5);

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        MatchAsync(cache => cache.MatchAsync(prefix, hold, cancellationToken), prefix.Chain);

    /// <inheritdoc/>
    /// <remarks>The better of the two caches' answers: ranks that one has are not added to ranks that the other has.</remarks>
    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        MatchAsync(cache => cache.MatchAsync(group, chain, hold, cancellationToken), chain);

    private async ValueTask<CacheMatch> MatchAsync(Func<IKvCache, ValueTask<CacheMatch>> match, PrefixChain chain)
    {
        var nearMatch = await match(near).ConfigureAwait(false);
        if (nearMatch.Blocks == chain.BlockCount)
            return nearMatch;
        CacheMatch farMatch;
        try
        {
            farMatch = await match(far).ConfigureAwait(false);
        }
        catch
        {
            await nearMatch.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        var (blocks, reason) = farMatch.Blocks >= nearMatch.Blocks
            ? (farMatch.Blocks, farMatch.Reason)
            : (nearMatch.Blocks, nearMatch.Reason);
        return new CacheMatch(blocks, chain.TokensPerBlock, reason, !nearMatch.Held && !farMatch.Held ? null : async () =>
        {
            await nearMatch.DisposeAsync().ConfigureAwait(false);
            await farMatch.DisposeAsync().ConfigureAwait(false);
        })
        {
            Origin = farMatch,
        };
    }

    /// <inheritdoc/>
    public async ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var nearResult = await near.LoadAsync(prefix, firstBlock, destinations, layers, null, cancellationToken).ConfigureAwait(false);
        if (nearResult.Blocks == destinations.Count)
            return nearResult;
        var epoch = _refills.Current;
        var rest = destinations.Skip(nearResult.Blocks).ToArray();
        var farResult = await far.LoadAsync(
            prefix, firstBlock + nearResult.Blocks, rest, layers, match?.Origin as CacheMatch, cancellationToken).ConfigureAwait(false);

        if (farResult.Blocks > 0 && (layers is null || layers == prefix.Namespace.Layout.AllLayers))
            await RefillAsync(prefix, firstBlock + nearResult.Blocks, rest.AsMemory(0, farResult.Blocks), epoch, cancellationToken)
                .ConfigureAwait(false);
        return farResult with { Blocks = nearResult.Blocks + farResult.Blocks };
    }

    /// <inheritdoc/>
    public async ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new StoreOptions();
        await near.StoreAsync(prefix, firstBlock, blocks, options with { TimeToLive = NearLifeOf(options.TimeToLive) }, cancellationToken)
            .ConfigureAwait(false);
        return await far.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default) =>
        await far.PinAsync(prefix, duration, cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default) =>
        ForgetAsync((cache, token) => cache.DeleteAsync(prefix, token), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default)
    {
        var count = await far.ExpireAsync(prefix, timeToLive, cancellationToken).ConfigureAwait(false);
        await near.ExpireAsync(prefix, NearLifeOf(timeToLive), CancellationToken.None).ConfigureAwait(false);
        return count;
    }

    /// <inheritdoc/>
    public async ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        await near.HintAsync(prefix, hint, cancellationToken).ConfigureAwait(false);
        await far.HintAsync(prefix, hint, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default) =>
        ForgetAsync((cache, token) => cache.ClearAsync(ns, token), cancellationToken);

    /// <summary>Statistics of the far cache, with the memory of the near one.</summary>
    /// <inheritdoc/>
    public async ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        var nearStatistics = await near.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
        var farStatistics = await far.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
        return farStatistics with
        {
            Hits = nearStatistics.Hits + farStatistics.Hits,
            LoadedBytes = nearStatistics.LoadedBytes + farStatistics.LoadedBytes,
            MemoryBytes = nearStatistics.MemoryBytes,
        };
    }

    private async ValueTask<DeleteResult> ForgetAsync(
        Func<IKvCache, CancellationToken, ValueTask<DeleteResult>> forget, CancellationToken cancellationToken)
    {
        var result = default(DeleteResult);
        try
        {
            result = await forget(far, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            // Far first: from now on nobody reads there what could be copied here. And also when the far cache fails or the caller cancels.
            await _refills.EndEpochAsync().ConfigureAwait(false);
            var here = await forget(near, CancellationToken.None).ConfigureAwait(false);
            result = result with { Deleted = Math.Max(result.Deleted, here.Deleted) };
        }

        return result;
    }

    private TimeSpan NearLifeOf(TimeSpan? asked) => asked < NearLife ? asked.Value : NearLife;

    /// <summary>Disposes both caches.</summary>
    public async ValueTask DisposeAsync()
    {
        await near.DisposeAsync().ConfigureAwait(false);
        await far.DisposeAsync().ConfigureAwait(false);
    }
}
