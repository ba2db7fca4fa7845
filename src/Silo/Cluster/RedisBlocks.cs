using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Tiers;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>Redis as one more holder of blocks: what it has enters the index, what it turns out not to have leaves it. Without a tier it
/// holds nothing.</summary>
/// <remarks>
/// Redis tells nobody when a payload's life is over. What was given a life here is looked up again when that is over, so that no match
/// promises it any longer; at most <see cref="MaxWatched"/> blocks. Others leave the index when a read does not find them.
/// </remarks>
internal sealed class RedisBlocks : IDisposable
{
    private const int MaxWatched = 1 << 18;
    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(500);

    // Redis has a clock of its own.
    private static readonly TimeSpan WatchGrace = TimeSpan.FromSeconds(1);

    private readonly PriorityQueue<BlockKey, TimeSpan> _ends = new();
    private readonly ITimer? _watch;
    private readonly BlockStore _store;
    private readonly BlockDirectory _directory;
    private readonly IPayloadTier? _tier;
    private readonly PrefixDescriptorStore? _pins;
    private readonly TimeProvider _time;

    public RedisBlocks(
        BlockStore store, BlockDirectory directory, PrefixDescriptorStore? pins, TimeProvider time, IServiceProvider services)
    {
        _store = store;
        _directory = directory;
        _pins = pins;
        _time = time;
        _tier = services.GetService<IPayloadTier>();
        if (_tier is not null)
        {
            directory.UnderWay.Add(_tier.IsUnderWay);
            directory.Buried = key => _ = _tier.DeleteAsync([key]);
            _watch = time.CreateTimer(_ => LookUpEnded(), null, WatchInterval, WatchInterval);
        }
    }

    /// <summary>Whether there is a Redis.</summary>
    public bool Exists => _tier is not null;

    /// <summary>Whether a block waits to be written to Redis or read from it, or is just now.</summary>
    public bool IsUnderWay(BlockKey key) => _tier?.IsUnderWay(key) == true;

    /// <summary>Whether there is a Redis, and it is worth asking.</summary>
    public bool IsAvailable => _tier is { IsOpen: false };

    /// <summary>Writes a block of this silo behind.</summary>
    public void Persist(BlockKey key)
    {
        if (_tier is null || _store.TryHold(key) is not { } lease)
            return;
        var (generation, expiresAt) = (lease.Generation, lease.ExpiresAt);
        _tier.Enqueue(lease, outcome =>
        {
            if (outcome != PersistOutcome.Persisted)
                return;
            if (!_directory.Persisted(key, generation))
            {
                _ = _tier.DeleteAsync([key]);
                return;
            }

            if (expiresAt is { } end)
                Watch(key, end);
        });
    }

    /// <summary>Whether Redis confirms a block.</summary>
    public async ValueTask<bool> ContainsAsync(BlockKey key)
    {
        if (_tier is null)
            return false;
        var exists = await _tier.ExistsAsync(key);
        if (exists == false)
            _directory.Unpersisted(key);
        return exists == true;
    }

    /// <summary>Visits blocks that Redis has.</summary>
    /// <returns>False when it did not answer to the end; true where there is none.</returns>
    public Task<bool> VisitAsync(Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken) =>
        _tier is null ? Task.FromResult(true)
        : _tier.IsOpen ? Task.FromResult(false)
        : _tier.VisitAsync(isWanted, found, cancellationToken);

    /// <summary>Deletes blocks, and waits until Redis has confirmed it or the tier will go on trying by itself.</summary>
    /// <returns>False when Redis has not confirmed it; true where there is none.</returns>
    public Task<bool> DeleteAsync(IReadOnlyCollection<BlockKey> keys, CancellationToken cancellationToken) =>
        _tier is null || keys.Count == 0 ? Task.FromResult(true) : _tier.DeleteAsync(keys, cancellationToken);

    /// <summary>Sets the life of a payload from now on, also of one that is being written.</summary>
    /// <returns>Whether Redis has it; null when it has not confirmed in time. False where there is none.</returns>
    public async Task<bool?> SetTimeToLiveAsync(BlockKey key, TimeSpan timeToLive)
    {
        if (_tier is null)
            return false;
        var now = _time.GetUtcNow();
        var end = timeToLive < DateTimeOffset.MaxValue - now ? now + timeToLive : DateTimeOffset.MaxValue;
        var isThere = await _tier.ExpireAsync(key, end).ConfigureAwait(false);
        if (isThere != false)
            Watch(key, end);
        return isThere;
    }

    /// <summary>Reads a block, and starts to read those behind it in its chain. Blocks the thread.</summary>
    public BlockLease? Fetch(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, int ahead)
    {
        if (_tier is null)
            return null;
        var first = PromoteAsync(new BlockKey(ns, hashes[0]));
        for (var i = 1; i < hashes.Length && i <= ahead; i++)
            Prefetch(new BlockKey(ns, hashes[i]));
        return first.GetAwaiter().GetResult();
    }

    /// <summary>Starts to read a block, where nobody has it in memory.</summary>
    public void Prefetch(BlockKey key)
    {
        if (_tier is not null && _directory.Index.HoldersOf(key) == BlockRun.Redis)
            _ = PromoteAndReleaseAsync(key);
    }

    public void Dispose() => _watch?.Dispose();

    private void Watch(BlockKey key, DateTimeOffset end)
    {
        lock (_ends)
        {
            var left = end - _time.GetUtcNow();
            if (_ends.Count < MaxWatched && left < TimeSpan.MaxValue / 2)
                _ends.Enqueue(key, _time.GetElapsedTime(0) + left + WatchGrace);
        }
    }

    private void LookUpEnded()
    {
        var now = _time.GetElapsedTime(0);
        lock (_ends)
        {
            while (_ends.TryPeek(out var key, out var end) && end <= now)
            {
                _ends.Dequeue();
                _ = ContainsAsync(key).AsTask();
            }
        }
    }

    private async Task PromoteAndReleaseAsync(BlockKey key) => (await PromoteAsync(key))?.Dispose();

    private async Task<BlockLease?> PromoteAsync(BlockKey key)
    {
        var result = await _tier!.PromoteAsync(key, expected: null).ConfigureAwait(false);
        if (result.Outcome is PromoteOutcome.Absent or PromoteOutcome.Expired or PromoteOutcome.Malformed or PromoteOutcome.Corrupt
            or PromoteOutcome.Truncated
            or PromoteOutcome.Foreign or PromoteOutcome.OtherVersion)
            _directory.Unpersisted(key);
        if (result.Outcome == PromoteOutcome.Promoted)
        {
            if (result.Lease?.ExpiresAt is { } end)
                Watch(key, end); // whoever wrote it may be gone
            if (_pins is not null)
                _ = PinAgainAsync(key);
        }

        return result.Lease;
    }

    // Behind the reader's back: nobody waits for it.
    private async Task PinAgainAsync(BlockKey key)
    {
        if (await _pins!.ReadAsync(GrainId.Create(PrefixGrain.Type, key.ToGrainKey())).ConfigureAwait(false) is not { } kept)
            return;
        if (kept.PinnedUntil - _time.GetUtcNow() is var left && left > TimeSpan.Zero)
            _store.Pin(key, left);
    }
}
