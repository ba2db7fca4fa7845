using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Persisting;

/// <summary>A block that is to be written to Redis.</summary>
/// <param name="lease">The block; released when the item ends.</param>
/// <param name="giveUp">When it is not worth writing any more.</param>
/// <param name="completed">Receives the outcome.</param>
internal sealed class PersistItem(BlockLease lease, Deadline giveUp, Action<PersistOutcome>? completed)
{
    private long _changedLife;

    public BlockLease Lease => lease;

    public BlockKey Key => lease.Key;

    public long Bytes => lease.Layout.BlockBytes;

    /// <summary>
    /// End of its life in Unix milliseconds; 0 for none. The store's, unless it was changed when the store had the block no longer. Set by
    /// the queue, also while the writer reads it.
    /// </summary>
    public long ExpiresAt
    {
        get => Volatile.Read(ref _changedLife) is var changed and not 0 ? changed : lease.ExpiresAt?.ToUnixTimeMilliseconds() ?? 0;
        set => Volatile.Write(ref _changedLife, value);
    }

    public Deadline GiveUp => giveUp;

    /// <summary>The block was deleted while it was being written. Guarded by the queue.</summary>
    public bool Deleted { get; set; }

    /// <summary>Releases the block and tells the outcome.</summary>
    public void End(PersistOutcome outcome, RedisTierCounters counters)
    {
        counters.Persist(outcome);
        lease.Dispose();
        completed?.Invoke(outcome);
    }
}
