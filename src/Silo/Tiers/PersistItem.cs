using KvCache.Storage;

namespace KvCache.Silo;

/// <summary>A block that is to be written to Redis.</summary>
/// <param name="lease">The block; released when the item ends.</param>
/// <param name="expiresAt">End of its life in Unix milliseconds; 0 for none.</param>
/// <param name="lineage">Where it stands in its prefix.</param>
/// <param name="through">Somebody waits for the outcome: it goes first and is not retried.</param>
/// <param name="giveUp">When it is not worth writing any more.</param>
/// <param name="completed">Receives the outcome.</param>
internal sealed class PersistItem(BlockLease lease, long expiresAt, BlockLineage lineage, bool through, Deadline giveUp, Action<PersistOutcome>? completed)
{
    public BlockLease Lease => lease;

    public BlockKey Key => lease.Key;

    public long Bytes => lease.Layout.BlockBytes;

    public long ExpiresAt => expiresAt;

    public BlockLineage Lineage => lineage;

    public bool Through => through;

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
