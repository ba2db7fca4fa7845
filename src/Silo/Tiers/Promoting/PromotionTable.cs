using System.Diagnostics.CodeAnalysis;
using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Promoting;

/// <summary>A block that is to be read from a tier below, and everybody who waits for it.</summary>
internal sealed class Promotion(BlockKey key, Deadline deadline)
{
    public BlockKey Key => key;

    public Deadline Deadline => deadline;

    /// <summary>Guarded by the table.</summary>
    public List<PromotionWaiter> Waiters { get; } = [];

    /// <summary>Nobody waits for the block yet. Guarded by the table.</summary>
    public bool IsAhead { get; set; }

    /// <summary>The block was deleted meanwhile: it must not be published. Guarded by the table.</summary>
    public bool Deleted { get; set; }
}

/// <summary>Somebody who waits for a promotion.</summary>
/// <param name="expected">Shape that the block must have; null for any.</param>
/// <param name="request">The request that wants it; see <see cref="BlockStore.TryLease"/>.</param>
internal sealed class PromotionWaiter(KvLayout? expected, long request = 0)
{
    private readonly TaskCompletionSource<PromoteResult> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public KvLayout? Expected => expected;

    public long Request => request;

    public Task<PromoteResult> Result => _result.Task;

    public bool TryEnd(PromoteResult result) => _result.TrySetResult(result);

    public void Cancel(CancellationToken token) => _result.TrySetCanceled(token);
}

/// <summary>Promotions that wait or run: one for a key, however many ask for it. All members are thread-safe.</summary>
internal sealed class PromotionTable(BlockStore store, RecentLives lives, int maxQueued)
{
    private readonly object _gate = new();
    private readonly Dictionary<BlockKey, Promotion> _promotions = [];
    private readonly Queue<Promotion> _queue = [];
    private int _idle; // readers that wait for a promotion
    private bool _stopped;

    /// <summary>Joins the promotion of a block, or starts one.</summary>
    /// <returns>False when too many wait, or the table was stopped.</returns>
    public bool TryJoin(BlockKey key, TimeSpan limit, PromotionWaiter waiter) => TryAdd(key, limit, waiter);

    /// <summary>Starts the promotion of a block that nobody waits for, unless one waits or runs.</summary>
    /// <returns>False when too many wait, or the table was stopped.</returns>
    public bool TryStart(BlockKey key, TimeSpan limit) => TryAdd(key, limit, waiter: null);

    private bool TryAdd(BlockKey key, TimeSpan limit, PromotionWaiter? waiter)
    {
        lock (_gate)
        {
            if (_stopped)
                return false;
            if (!_promotions.TryGetValue(key, out var promotion))
            {
                if (_queue.Count >= maxQueued)
                    return false;
                promotion = new Promotion(key, Deadline.After(limit));
                _promotions.Add(key, promotion);
                _queue.Enqueue(promotion);
                Monitor.Pulse(_gate);
            }

            promotion.IsAhead = promotion.Waiters.Count == 0 && waiter is null;
            if (waiter is not null)
                promotion.Waiters.Add(waiter);
            return true;
        }
    }

    /// <summary>Keeps promotions of the blocks that wait or run from publishing anything.</summary>
    public void Delete(IEnumerable<BlockKey> keys)
    {
        lock (_gate)
        {
            foreach (var key in keys)
            {
                if (_promotions.TryGetValue(key, out var promotion))
                    promotion.Deleted = true;
            }
        }
    }

    /// <summary>Whether a promotion of a block waits or runs.</summary>
    public bool IsUnderWay(BlockKey key)
    {
        lock (_gate)
            return _promotions.ContainsKey(key);
    }

    /// <summary>Whether somebody who waits expects another shape.</summary>
    public bool IsUnexpected(Promotion promotion, KvLayout layout)
    {
        lock (_gate)
            return promotion.Waiters.Exists(waiter => !(waiter.Expected?.Equals(layout) ?? true));
    }

    /// <summary>Waits for a promotion to run; it must be ended by <see cref="Finish"/>.</summary>
    /// <returns>False when the table was stopped.</returns>
    public bool TryTake([NotNullWhen(true)] out Promotion? promotion)
    {
        lock (_gate)
        {
            while (!_queue.TryDequeue(out promotion))
            {
                if (_stopped)
                    return false;
                _idle++;
                Monitor.Wait(_gate);
                _idle--;
            }

            return true;
        }
    }

    /// <summary>Takes a promotion for a reader that is still busy with another, if no idle one would run it sooner.</summary>
    /// <returns>The promotion, to be ended by <see cref="Finish"/>, or null.</returns>
    public Promotion? TryTakeAhead()
    {
        lock (_gate)
            return _idle == 0 && _queue.TryDequeue(out var promotion) ? promotion : null;
    }

    /// <summary>Publishes what was read, unless the block was deleted while it was, or its life is over.</summary>
    /// <param name="promotion">The promotion.</param>
    /// <param name="write">The block.</param>
    /// <param name="durability">What its writer asked for.</param>
    /// <param name="left">What is left of its life; null when that has no end.</param>
    public PromoteOutcome Publish(Promotion promotion, BlockWrite write, BlockDurability durability, TimeSpan? left)
    {
        lock (_gate)
        {
            if (promotion.Deleted)
                return PromoteOutcome.Deleted;
            return lives.Publish(write, left, durability) switch
            {
                null => PromoteOutcome.Expired,
                PublishOutcome.Published => PromoteOutcome.Promoted,
                PublishOutcome.AlreadyStored => PromoteOutcome.AlreadyStored,
                _ => PromoteOutcome.Deleted,
            };
        }
    }

    /// <summary>Ends a promotion. Everybody who waits gets a lease of their own.</summary>
    public void Finish(Promotion promotion, PromoteOutcome outcome)
    {
        lock (_gate)
            _promotions.Remove(promotion.Key);

        // Nobody can join any more.
        foreach (var waiter in promotion.Waiters)
        {
            var result = ResultOf(promotion, outcome, waiter);
            if (!waiter.TryEnd(result))
                result.Lease?.Dispose();
        }
    }

    /// <summary>Starts nothing more. What waits is still taken.</summary>
    public void Stop()
    {
        lock (_gate)
        {
            _stopped = true;
            Monitor.PulseAll(_gate);
        }
    }

    private PromoteResult ResultOf(Promotion promotion, PromoteOutcome outcome, PromotionWaiter waiter)
    {
        if (outcome is not (PromoteOutcome.Promoted or PromoteOutcome.AlreadyStored))
            return new PromoteResult(outcome, null);
        if (store.TryLease(promotion.Key, waiter.Request) is not { } lease)
            return new PromoteResult(PromoteOutcome.NoMemory, null); // evicted at once
        if (waiter.Expected is null || waiter.Expected.Equals(lease.Layout))
            return new PromoteResult(outcome, lease);
        lease.Dispose();
        return new PromoteResult(PromoteOutcome.OtherLayout, null);
    }
}
