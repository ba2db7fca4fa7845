using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Persisting;
using KvCache.Silo.Tiers.Promoting;
using KvCache.Silo.Tiers.Redis;
using KvCache.SimulationTests.Engine;
using Microsoft.Extensions.Logging.Abstractions;

namespace KvCache.SimulationTests.Model;

/// <summary>
/// The Redis tier without threads and sockets: the queue and the table of promotions are those of production; what their threads do is done
/// step by step.
/// </summary>
internal sealed class ModelTier(int node, BlockStore store, RecentLives lives, ModelRedis redis, Network network, TimeProvider clock)
    : IPayloadTier
{
    private const int QueueBlocks = 3;

    private static readonly TimeSpan Patience = TimeSpan.FromDays(1);
    private static readonly RedisTierCounters Counters = new();
    private static readonly RedisHealth Health = NewHealth();

    private readonly PersistQueue _queue = new(QueueBlocks * TestBlocks.Layout.BlockBytes, 100, Health, Counters);
    private readonly PromotionTable _promotions = new(store, lives, 100);
    private readonly List<Queued> _queued = [];
    private readonly List<(DeleteBatch Batch, TaskCompletionSource<bool> Confirmed)> _deletions = [];
    private readonly List<(LifeChange Change, TaskCompletionSource<bool?> Applied)> _changes = [];
    private readonly List<(Promotion Promotion, BlockWrite Write, Payload Payload)> _loaded = [];
    private readonly HashSet<BlockKey> _promoting = [];
    private readonly List<(PromotionWaiter Waiter, TaskCompletionSource<PromoteResult> Result)> _waiters = [];
    private int _promotionsQueued;
    private bool _deleting, _expiring;

    public bool IsOpen => false;

    public bool CanWrite => _queued.Exists(IsReady);

    public bool CanDelete => !_deleting && HasDeletions;

    public bool CanExpire => !_expiring && Lives.Count > 0;

    public bool CanRead => _promotionsQueued > 0;

    public bool CanPublish => _loaded.Count > 0;

    private List<LifeChange> Lives
    {
        get
        {
            var waiting = new List<LifeChange>();
            _queue.PeekLives(waiting, 100);
            return waiting;
        }
    }

    private bool HasDeletions
    {
        get
        {
            var keys = new List<BlockKey>();
            _queue.PeekDeletes(keys, 1);
            return keys.Count > 0;
        }
    }

    public void Enqueue(BlockLease lease, Action<PersistOutcome>? completed)
    {
        var queued = new Queued(lease.Key);
        _queued.Add(queued);
        _queue.Add(new PersistItem(lease, Deadline.After(Patience), outcome =>
        {
            _queued.Remove(queued);
            completed?.Invoke(outcome);
        }));
    }

    public Task<PromoteResult> PromoteAsync(BlockKey key, KvLayout? expected, CancellationToken cancellationToken)
    {
        var waiter = new PromotionWaiter(expected);
        if (!_promotions.TryJoin(key, Patience, waiter))
            return Task.FromResult(new PromoteResult(PromoteOutcome.Busy, null));
        if (_promoting.Add(key))
            _promotionsQueued++;
        if (_queue.IsDeleting(key))
            _promotions.Delete([key]);
        var result = new TaskCompletionSource<PromoteResult>();
        _waiters.Add((waiter, result));
        return result.Task;
    }

    public Task<bool?> ExpireAsync(BlockKey key, DateTimeOffset expiresAt, CancellationToken cancellationToken)
    {
        if (_queue.Expire(key, expiresAt.ToUnixTimeMilliseconds()) is not { } change)
            return Task.FromResult<bool?>(_queue.IsDeleting(key) ? false : null);
        var applied = new TaskCompletionSource<bool?>();
        _changes.Add((change, applied));
        return applied.Task;
    }

    public Task<bool> VisitAsync(Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken)
    {
        found([.. redis.Keys.Where(isWanted)]);
        return Task.FromResult(true);
    }

    public bool IsUnderWay(BlockKey key) => _queue.IsUnderWay(key) || _promotions.IsUnderWay(key);

    public Task<bool> DeleteAsync(IReadOnlyCollection<BlockKey> keys, CancellationToken cancellationToken)
    {
        var batch = new DeleteBatch(keys);
        var accepted = _queue.Delete(batch);
        _promotions.Delete(batch.Keys);
        TellApplied();
        if (!accepted)
            return Task.FromResult(false);
        var confirmed = new TaskCompletionSource<bool>();
        _deletions.Add((batch, confirmed));
        return confirmed.Task;
    }

    public async Task<bool?> ExistsAsync(BlockKey key)
    {
        if (_queue.IsDeleting(key))
            return false;
        try
        {
            return await Ask("EXISTS", key, () => redis.Get(key) is not null);
        }
        catch (TimeoutException)
        {
            return null;
        }
    }

    /// <summary>What the writer's thread does with the next block.</summary>
    public async Task WriteAsync()
    {
        var item = _queue.Take()!;
        var queued = _queued.First(queued => queued.Key == item.Key);
        queued.Taken = true;
        var life = TimeSpan.FromDays(1);
        var expiresAt = item.ExpiresAt;
        if (expiresAt != 0 && (life = DateTimeOffset.FromUnixTimeMilliseconds(expiresAt) - clock.GetUtcNow()) <= TimeSpan.Zero)
        {
            _queue.Finish(item, PersistOutcome.Expired, again: false);
            return;
        }

        var header = new PayloadHeader(
            item.Key, item.Lease.Generation, item.Lease.Layout, item.Lease.Lineage, (byte)item.Lease.Durability.Copies, expiresAt);
        var payload = new Payload(header, item.Lease.Bytes.ToArray(), item.Lease.Checksums.ToArray());
        var again = false;
        try
        {
            await Ask("SET", item.Key, () =>
            {
                redis.Set(payload, life);
                return true;
            });
        }
        catch (TimeoutException)
        {
            again = true; // the connection is given up, and its SET is not executed any more
        }

        queued.Taken = false;
        _queue.Finish(item, again ? PersistOutcome.Unavailable : PersistOutcome.Persisted, again);
    }

    /// <summary>What the control thread does with the deletions that wait.</summary>
    public async Task DeleteWaitingAsync()
    {
        var keys = new List<BlockKey>();
        _queue.PeekDeletes(keys, 100);
        var asked = _deletions.ToArray();
        _deleting = true;
        try
        {
            await Ask("UNLINK", keys[0], () =>
            {
                redis.Unlink(keys);
                return true;
            });
            _queue.FinishDeletes(keys);
        }
        catch (TimeoutException)
        {
            // Whoever waits is told that it is not confirmed; it is tried again.
            foreach (var (_, confirmed) in asked)
                confirmed.TrySetResult(false);
        }

        _deleting = false;
        foreach (var deletion in _deletions.FindAll(deletion => deletion.Batch.Confirmed.IsCompleted))
        {
            _deletions.Remove(deletion);
            deletion.Confirmed.TrySetResult(true);
        }
    }

    /// <summary>What the control thread does with a change of a life.</summary>
    public async Task ExpireNextAsync()
    {
        var change = Lives[0];
        _expiring = true;
        try
        {
            _queue.FinishLife(change, await Ask("PEXPIRE", change.Key, () => redis.Expire(
                change.Key, DateTimeOffset.FromUnixTimeMilliseconds(change.ExpiresAt) - clock.GetUtcNow(), change.ExpiresAt)));
        }
        catch (TimeoutException)
        {
            // It is tried again.
        }

        _expiring = false;
        TellApplied();
    }

    /// <summary>What a reader's thread does until it has the payload in the arena.</summary>
    public async Task ReadAsync()
    {
        _promotionsQueued--;
        if (!_promotions.TryTake(out var promotion))
            return;
        if (store.Contains(promotion.Key))
        {
            Finish(promotion, PromoteOutcome.AlreadyStored);
            return;
        }

        Payload? payload;
        var askedAt = clock.GetTimestamp();
        try
        {
            payload = await Ask("GET", promotion.Key, () => redis.Get(promotion.Key));
        }
        catch (TimeoutException)
        {
            Finish(promotion, PromoteOutcome.Deadline);
            return;
        }

        if (payload is null)
            Finish(promotion, PromoteOutcome.Absent);
        else if (payload.Header.Left(payload.Left - clock.GetElapsedTime(askedAt), clock.GetUtcNow(), isSealed: false) <= TimeSpan.Zero)
            Finish(promotion, PromoteOutcome.Expired);
        else if (store.TryReserve(promotion.Key, payload.Header.Layout, payload.Header.Lineage, payload.Header.Generation) is { } write)
            _loaded.Add((promotion, write, payload with { Left = payload.Left - clock.GetElapsedTime(askedAt) }));
        else
            Finish(promotion, PromoteOutcome.NoMemory);
    }

    /// <summary>What a reader's thread does with a payload that is in the arena.</summary>
    public void PublishLoaded()
    {
        var (promotion, write, payload) = _loaded[0];
        _loaded.RemoveAt(0);
        payload.Bytes.CopyTo(write.Bytes);
        payload.Checksums.CopyTo(write.Checksums);
        var outcome = _promotions.Publish(
            promotion, write, new BlockDurability(payload.Header.Copies, Persisted: true),
            payload.Header.Left(payload.Left, clock.GetUtcNow(), isSealed: false));
        write.Dispose();
        Finish(promotion, outcome);
    }

    // Continuations run inside of the step.
    private void TellApplied()
    {
        foreach (var (change, applied) in _changes.FindAll(waiting => waiting.Change.Applied.IsCompleted))
        {
            _changes.Remove((change, applied));
            applied.SetResult(change.Applied.Result);
        }
    }

    private void Finish(Promotion promotion, PromoteOutcome outcome)
    {
        _promoting.Remove(promotion.Key);
        _promotions.Finish(promotion, outcome);
        foreach (var (waiter, result) in _waiters.FindAll(waiting => waiting.Waiter.Result.IsCompleted))
        {
            _waiters.Remove((waiter, result));
            result.SetResult(waiter.Result.Result);
        }
    }

    private bool IsReady(Queued queued) =>
        !queued.Taken && !_queue.IsDeleting(queued.Key) && !_queued.Exists(other => other.Taken && other.Key == queued.Key)
            && !Lives.Exists(life => life.Key == queued.Key);

    private Task<T> Ask<T>(string command, BlockKey key, Func<T> execute) => network.Ask(
        command,
        TestBlocks.NumberOf(key),
        node,
        ModelRedis.Node,
        () =>
        {
            try
            {
                return Task.FromResult(execute());
            }
            catch (TimeoutException e)
            {
                return Task.FromException<T>(e);
            }
        },
        repeatable: false);

    private static RedisHealth NewHealth()
    {
        Assert.True(RedisEndpoint.TryParse("localhost:6379", out var endpoint, out var problem), problem);
        return new RedisHealth(endpoint, new RedisTierOptions(), Counters, NullLogger.Instance);
    }

    private sealed class Queued(BlockKey key)
    {
        public BlockKey Key => key;

        public bool Taken { get; set; }
    }
}
