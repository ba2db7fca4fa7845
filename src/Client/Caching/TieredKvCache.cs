using KvCache.Caching;
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
public sealed partial class TieredKvCache : IKvCache
{
    private readonly IKvCache _near, _far;
    private readonly RefillGate _refills = new();
    private volatile bool _disposed;

    /// <summary>Puts a cache in front of another one. Both belong to it from now on.</summary>
    /// <param name="near">Usually a <see cref="LocalKvCache"/>.</param>
    /// <param name="far">Usually a <see cref="KvCacheClient"/>, or a <c>RedisKvCache</c>.</param>
    /// <exception cref="ArgumentException">Both are the same.</exception>
    public TieredKvCache(IKvCache near, IKvCache far)
    {
        ArgumentNullException.ThrowIfNull(near);
        ArgumentNullException.ThrowIfNull(far);
        if (ReferenceEquals(near, far))
            throw new ArgumentException("The near and the far cache are the same; two were expected.", nameof(far));
        (_near, _far) = (near, far);
    }

    /// <summary>Longest life of a copy in the near cache. Default 5 minutes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is zero or less.</exception>
    public TimeSpan NearLife
    {
        get;
        init => field = value > TimeSpan.Zero
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, "Copies have to live longer than zero.");
    } = TimeSpan.FromMinutes(5);

    /// <summary>What the far cache can do; hints do something as soon as one of the two hears them.</summary>
    public CacheCapabilities Capabilities => _far.Capabilities | (_near.Capabilities & CacheCapabilities.Hints);

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(prefix, hold);
        return MatchAsync(cache => cache.MatchAsync(prefix, hold, cancellationToken), prefix.Chain);
    }

    /// <inheritdoc/>
    /// <remarks>The better of the two caches' answers: ranks that one has are not added to ranks that the other has.</remarks>
    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(group, chain, hold);
        return MatchAsync(cache => cache.MatchAsync(group, chain, hold, cancellationToken), chain);
    }

    private async ValueTask<CacheMatch> MatchAsync(Func<IKvCache, ValueTask<CacheMatch>> match, PrefixChain chain)
    {
        CheckOpen();
        var gone = new CacheMatch(0, chain.TokensPerBlock, MissReason.Unavailable);
        var nearMatch = await OrAsync(() => match(_near), gone).ConfigureAwait(false);
        if (nearMatch.Blocks == chain.BlockCount)
            return nearMatch;
        CacheMatch farMatch;
        try
        {
            farMatch = await OrAsync(() => match(_far), gone).ConfigureAwait(false);
        }
        catch
        {
            await nearMatch.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        var better = farMatch.Blocks >= nearMatch.Blocks ? farMatch : nearMatch;
        return new CacheMatch(better.Blocks, chain.TokensPerBlock, better.Reason, !nearMatch.Held && !farMatch.Held ? null : async () =>
        {
            await nearMatch.DisposeAsync().ConfigureAwait(false);
            await farMatch.DisposeAsync().ConfigureAwait(false);
        })
        {
            Origin = farMatch,
            Error = better.Error,
        };
    }

    /// <inheritdoc/>
    public async ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        CheckOpen();
        var nearResult = await OrAsync(
            () => _near.LoadAsync(prefix, firstBlock, destinations, layers, null, cancellationToken), Gone).ConfigureAwait(false);
        if (nearResult.Blocks == destinations.Count)
            return nearResult;
        var epoch = _refills.Current;
        var rest = destinations.Skip(nearResult.Blocks).ToArray();
        var farResult = await OrAsync(
            () => _far.LoadAsync(
                prefix, firstBlock + nearResult.Blocks, rest, layers, match?.Origin as CacheMatch, cancellationToken), Gone)
            .ConfigureAwait(false);

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
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        CheckOpen();
        await StoreNearAsync(prefix, firstBlock, blocks, options, cancellationToken).ConfigureAwait(false);
        return await OrAsync(() => _far.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken), NotStored)
            .ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPin(prefix, duration);
        CheckOpen();
        return await OrAsync(() => _far.PinAsync(prefix, duration, cancellationToken), 0).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPrefix(prefix);
        CheckOpen();
        return ForgetAsync((cache, token) => cache.DeleteAsync(prefix, token), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckExpire(prefix, timeToLive);
        CheckOpen();
        var count = await OrAsync(() => _far.ExpireAsync(prefix, timeToLive, cancellationToken), 0).ConfigureAwait(false);
        await OrAsync(() => _near.ExpireAsync(prefix, NearLifeOf(timeToLive), CancellationToken.None), 0).ConfigureAwait(false);
        return count;
    }

    /// <inheritdoc/>
    public async ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckHint(prefix, hint);
        CheckOpen();
        foreach (var cache in (IKvCache[])[_near, _far])
        {
            try
            {
                await cache.HintAsync(prefix, hint, cancellationToken).ConfigureAwait(false);
            }
            catch (ObjectDisposedException)
            {
                // Advice may be lost.
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckNamespace(ns, nameof(ns));
        CheckOpen();
        return ForgetAsync((cache, token) => cache.ClearAsync(ns, token), cancellationToken);
    }

    /// <summary>Statistics of the far cache, with the memory of the near one.</summary>
    /// <inheritdoc/>
    public async ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        CheckOpen();
        var nearStatistics = await _near.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
        var farStatistics = await _far.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
        return farStatistics with
        {
            Hits = nearStatistics.Hits + farStatistics.Hits,
            LoadedBytes = nearStatistics.LoadedBytes + farStatistics.LoadedBytes,
            LoadedTokens = nearStatistics.LoadedTokens + farStatistics.LoadedTokens,
            MemoryBytes = nearStatistics.MemoryBytes,
        };
    }

    /// <inheritdoc/>
    public void ResetStatistics()
    {
        _near.ResetStatistics();
        _far.ResetStatistics();
    }

    /// <summary>Whether the far cache answers.</summary>
    /// <inheritdoc/>
    public ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default)
    {
        CheckOpen();
        return _far.GetHealthAsync(cancellationToken);
    }

    private async ValueTask<DeleteResult> ForgetAsync(
        Func<IKvCache, CancellationToken, ValueTask<DeleteResult>> forget, CancellationToken cancellationToken)
    {
        var result = default(DeleteResult);
        try
        {
            result = await OrAsync(() => forget(_far, cancellationToken), default).ConfigureAwait(false);
        }
        finally
        {
            // Far first: from now on nobody reads there what could be copied here. And also when the far cache fails or the caller cancels.
            await _refills.EndEpochAsync().ConfigureAwait(false);
            var here = await OrAsync(() => forget(_near, CancellationToken.None), default).ConfigureAwait(false);
            result = result with { Deleted = Math.Max(result.Deleted, here.Deleted) };
        }

        return result;
    }

    private TimeSpan NearLifeOf(TimeSpan? asked) => asked < NearLife ? asked.Value : NearLife;

    /// <summary>Disposes both caches.</summary>
    public async ValueTask DisposeAsync()
    {
        _disposed = true;
        await _near.DisposeAsync().ConfigureAwait(false);
        await _far.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose()
    {
        _disposed = true;
        _near.Dispose();
        _far.Dispose();
    }

    private static LoadResult Gone { get; } = new(0, MissReason.Unavailable);

    private static StoreResult NotStored { get; } = new() { Reason = MissReason.Unavailable };

    private void CheckOpen() => ObjectDisposedException.ThrowIf(_disposed, this);

    // A cache that is disposed under a call that is under way has nothing.
    private static async ValueTask<T> OrAsync<T>(Func<ValueTask<T>> call, T gone)
    {
        try
        {
            return await call().ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            return gone;
        }
    }

    private ValueTask<StoreResult> StoreNearAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions options,
        CancellationToken cancellationToken)
    {
        var here = options with { TimeToLive = NearLifeOf(options.TimeToLive) };
        return OrAsync(() => _near.StoreAsync(prefix, firstBlock, blocks, here, cancellationToken), NotStored);
    }
}
