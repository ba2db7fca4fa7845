using KvCache.Storage;

namespace KvCache.Silo;

/// <summary>A block that is to be written to Redis.</summary>
/// <param name="lease">The block; released when the item ends.</param>
/// <param name="facts">What to write beside it.</param>
/// <param name="giveUp">When it is not worth writing any more.</param>
/// <param name="completed">Receives the outcome.</param>
internal sealed class PersistItem(BlockLease lease, in BlockFacts facts, Deadline giveUp, Action<PersistOutcome>? completed)
{
    private long _expiresAt = facts.ExpiresAt?.ToUnixTimeMilliseconds() ?? 0;

    public BlockLease Lease => lease;

    public BlockKey Key => lease.Key;

    public long Bytes => lease.Layout.BlockBytes;

    public BlockLineage Lineage { get; } = facts.Lineage;

    public byte Copies { get; } = facts.Copies;

    /// <summary>End of its life in Unix milliseconds; 0 for none. Set by the queue, also while the writer reads it.</summary>
    public long ExpiresAt
    {
        get => Volatile.Read(ref _expiresAt);
        set => Volatile.Write(ref _expiresAt, value);
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
