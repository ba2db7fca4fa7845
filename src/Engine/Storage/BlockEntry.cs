namespace KvCache.Engine.Storage;

internal enum BlockState : byte
{
    Writing,
    Sealed,

    /// <summary>No longer visible; its memory waits for the last lease.</summary>
    Removed,
}

/// <summary>One block of a store. All fields are guarded by the store's lock; bytes and checksums are constant once sealed.</summary>
internal sealed class BlockEntry(
    BlockKey key, KvLayout layout, ulong generation, long offset, BlockLineage lineage, bool isCopy, TenantAccount account)
{
    public readonly BlockKey Key = key;
    public readonly KvLayout Layout = layout;
    public readonly long Offset = offset;
    public readonly BlockLineage Lineage = lineage;

    /// <summary>Taken from another silo because it is read here: the first to be evicted.</summary>
    public readonly bool IsCopy = isCopy;

    /// <summary>Who pays for its memory.</summary>
    public readonly TenantAccount Account = account;
    public readonly uint[] Checksums = new uint[layout.Layers];

    public ulong Generation = generation; // constant once sealed
    public BlockState State;
    public BlockDurability Durability;
    public int Leases;
    public long ExpiresAt = long.MaxValue; // on the clock of DeadlineQueue
    public long PinnedUntil; // on that clock; 0 = not pinned
    public long LastUse;

    // Recency list. A block that is leased or pinned is not in it, so that its tail can always be evicted.
    public BlockEntry? Newer;
    public BlockEntry? Older;
    public bool InRecency;
    public long ListedAt; // the clock of uses when it came to the list

    /// <summary>Last search that found too little memory around this block; see <see cref="EvictionPlanner"/>.</summary>
    public long TooTightFor;

    // Prefix tree over resident blocks.
    public BlockEntry? Parent;
    public BlockEntry? FirstChild;
    public BlockEntry? NextSibling;
    public BlockEntry? PreviousSibling;

    public int Length => Layout.BlockBytes;

    public long ArenaBytes => Arena.RoundUp(Length);

    public void Adopt(BlockEntry child)
    {
        child.Parent = this;
        child.NextSibling = FirstChild;
        if (FirstChild is not null)
            FirstChild.PreviousSibling = child;
        FirstChild = child;
    }

    public void DetachFromTree()
    {
        if (Parent is not null)
        {
            if (PreviousSibling is not null)
                PreviousSibling.NextSibling = NextSibling;
            else
                Parent.FirstChild = NextSibling;
            if (NextSibling is not null)
                NextSibling.PreviousSibling = PreviousSibling;
            Parent = PreviousSibling = NextSibling = null;
        }

        for (var child = FirstChild; child is not null;)
        {
            var next = child.NextSibling;
            child.Parent = child.PreviousSibling = child.NextSibling = null;
            child = next;
        }

        FirstChild = null;
    }
}
