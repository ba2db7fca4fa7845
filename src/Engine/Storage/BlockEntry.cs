namespace KvCache.Engine.Storage;

internal enum BlockState : byte
{
    Writing,
    Sealed,

    /// <summary>No longer visible; its memory waits for the last lease.</summary>
    Removed,
}

/// <summary>One generation of a block. Fields are guarded by the store's lock, but for <see cref="Leases"/>; what a reader needs is
/// constant once it is sealed.</summary>
internal sealed class BlockEntry(BlockNode node, KvLayout layout, ulong generation, long offset, BlockLineage lineage, bool isCopy)
{
    public readonly BlockNode Node = node;
    public readonly KvLayout Layout = layout;
    public readonly long Offset = offset;
    public readonly BlockLineage Lineage = lineage;

    /// <summary>Taken from another silo because it is read here: the first to be evicted.</summary>
    public readonly bool IsCopy = isCopy;

    public readonly uint[] Checksums = new uint[layout.Layers];

    public ulong Generation = generation; // constant once sealed
    public BlockState State;
    public BlockDurability Durability;
    public LeaseWord Leases;
    public long ExpiresAt = long.MaxValue; // on the clock of DeadlineQueue
    public long PinnedUntil; // on that clock; 0 = not pinned
    public long LastUse;

    /// <summary>Another request than the one that stored it has used it.</summary>
    public bool WasReused;

    /// <summary>Read from a tier below before anybody asked for it, and not used since. Set before it is visible.</summary>
    public bool WasReadAhead;

    /// <summary>Place in the <see cref="DeadlineQueue"/>; -1 when it is not in it.</summary>
    public int Deadline = -1;

    /// <summary>The search of <see cref="MemoryWindow"/> that has collected it.</summary>
    public long Search;

    public BlockKey Key => Node.Key;

    /// <summary>Who pays for its memory.</summary>
    public TenantAccount Account => Node.Account;

    public int Length => Layout.BlockBytes;

    public long ArenaBytes => Arena.RoundUp(Length);
}
