using System.Diagnostics.CodeAnalysis;
using KvCache.Storage;

namespace KvCache.Silo;

/// <summary>A block that is to be read from Redis, and everybody who waits for it.</summary>
internal sealed class Promotion(BlockKey key, KvLayout layout, Deadline deadline)
{
    public BlockKey Key => key;

    public KvLayout Layout => layout;

    public Deadline Deadline => deadline;

    /// <summary>Guarded by the table.</summary>
    public List<TaskCompletionSource<PromoteResult>> Waiters { get; } = [];

    /// <summary>The block was deleted meanwhile: it must not be published. Guarded by the table.</summary>
    public bool Deleted { get; set; }
}

/// <summary>Promotions that wait or run: one for a key, however many ask for it. All members are thread-safe.</summary>
internal sealed class PromotionTable(BlockStore store, int maxQueued)
{
    private readonly object _gate = new();
    private readonly Dictionary<BlockKey, Promotion> _promotions = [];
    private readonly Queue<Promotion> _queue = [];
    private bool _stopped;

    /// <summary>Joins the promotion of a block, or starts one.</summary>
    /// <returns>False when too many wait, or the table was stopped.</returns>
    public bool TryJoin(BlockKey key, KvLayout layout, TimeSpan limit, TaskCompletionSource<PromoteResult> waiter)
    {
        lock (_gate)
        {
            if (_stopped)
                return false;
            if (!_promotions.TryGetValue(key, out var promotion))
            {
                if (_queue.Count >= maxQueued)
                    return false;
                promotion = new Promotion(key, layout, Deadline.After(limit));
                _promotions.Add(key, promotion);
                _queue.Enqueue(promotion);
                Monitor.Pulse(_gate);
            }

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
                Monitor.Wait(_gate);
            }

            return true;
        }
    }

    /// <summary>Publishes what was read, unless the block was deleted while it was.</summary>
    public PromoteOutcome Publish(Promotion promotion, BlockWrite write, TimeSpan? timeToLive)
    {
        lock (_gate)
        {
            if (promotion.Deleted)
                return PromoteOutcome.Deleted;
            return store.Publish(write.Key, write.Generation, timeToLive) switch
            {
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
            var result = ResultOf(promotion.Key, outcome);
            if (!waiter.TrySetResult(result))
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

    private PromoteResult ResultOf(BlockKey key, PromoteOutcome outcome)
    {
        if (outcome is not (PromoteOutcome.Promoted or PromoteOutcome.AlreadyStored))
            return new PromoteResult(outcome, null);
        return store.TryLease(key) is { } lease ? new PromoteResult(outcome, lease) : new PromoteResult(PromoteOutcome.NoMemory, null); // evicted at once
    }
}
