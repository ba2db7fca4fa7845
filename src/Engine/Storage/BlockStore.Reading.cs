namespace KvCache.Engine.Storage;

/// <content>Finding and leasing blocks.</content>
internal sealed partial class BlockStore
{
    /// <summary>Whether a block is visible, or a write of it is running.</summary>
    public bool Knows(BlockKey key)
    {
        lock (_lock)
            return Find(key) is not null || (_nodes.TryGet(key, out var node) && node.Writes is not null);
    }

    /// <summary>Whether a block is visible. Neither extends its life nor counts as use.</summary>
    public bool Contains(BlockKey key) => Describe(key) is not null;

    /// <summary>Generation and shape of the visible block, or null. Neither extends its life nor counts as use.</summary>
    public (ulong Generation, KvLayout Layout)? Describe(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? (entry.Generation, entry.Layout) : null;
    }

    /// <summary>Block before the visible block, and tokens of a block; null when it is not visible. Neither extends its life nor counts as
    /// use.</summary>
    public (BlockHash Parent, int TokensPerBlock)? DescribePlace(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? (entry.Lineage.Parent, entry.Layout.TokensPerBlock) : null;
    }

    /// <summary>
    /// Counts how many of the blocks are visible, from the first up to the first that is not.
    /// Neither extends lives nor counts as use.
    /// </summary>
    public int Match(NamespaceId ns, ReadOnlySpan<BlockHash> hashes)
    {
        lock (_lock)
        {
            var count = 0;
            while (count < hashes.Length && Find(new BlockKey(ns, hashes[count])) is not null)
                count++;
            return count;
        }
    }

    /// <summary>Takes a lease on a block and counts a use.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="request">The request, from <see cref="BeginRequest(NamespaceId, BlockHash, ReadOnlySpan{BlockHash}, in
    /// RequestFacts)"/>; 0 when nobody has named it.</param>
    /// <returns>The lease, or null when the block is not visible, or its tenant has all that it may have out of reach of
    /// eviction.</returns>
    public BlockLease? TryLease(BlockKey key, long request = 0)
    {
        lock (_lock)
            return !Term.IsOver && Find(key) is { } entry && MayRead(entry) ? Lease(entry, request) : null;
    }

    /// <summary>Takes a lease on a block for the silo's own sake, which is no use: what was stored, or will be read, is not used twice.
    /// </summary>
    /// <returns>As <see cref="TryLease"/>.</returns>
    public BlockLease? TryHold(BlockKey key)
    {
        lock (_lock)
            return !Term.IsOver && Find(key) is { } entry && MayHold(entry) ? Hold(entry) : null;
    }

    internal void Release(BlockEntry entry)
    {
        lock (_lock)
        {
            if (--entry.Leases > 0)
                return;
            _counters.LeasedBlocks--;
            if (entry.State == BlockState.Removed)
                FreeMemory(entry);
            else if (entry.State == BlockState.Sealed && entry.PinnedUntil == 0)
                _nodes.Unlock(entry.Node);
        }
    }

    // Whether a block may be put out of reach of eviction for its tenant: for a while, as it is read, or with all before it, for longer.
    private static bool MayRead(BlockEntry entry) => entry.Node.Locks > 0 || entry.Account.MayLock(entry.ArenaBytes);

    private static bool MayHold(BlockEntry entry) => entry.Node.Locks > 0 || entry.Account.MayLock(BlockNodes.BytesToLock(entry.Node));

    private BlockLease Lease(BlockEntry entry, long request)
    {
        var lease = Hold(entry);
        Use(entry.Node, entry, request);
        return lease;
    }

    private BlockLease Hold(BlockEntry entry)
    {
        if (entry.Leases++ == 0)
        {
            _counters.LeasedBlocks++;
            if (entry.PinnedUntil == 0)
                _nodes.Lock(entry.Node);
        }

        return new BlockLease(this, entry);
    }

    // A follower of a running write, whose block is in no policy yet.
    private BlockLease LeaseUnfinished(BlockEntry entry)
    {
        if (entry.Leases++ == 0)
            _counters.LeasedBlocks++;
        return new BlockLease(this, entry);
    }
}
