namespace KvCache.Engine.Storage;

/// <content>Finding and leasing blocks.</content>
internal sealed partial class BlockStore
{
    private readonly UseLog _uses = new();
    private readonly BlockUse[] _told = new BlockUse[UseLog.Capacity];
    private long _lastUsed;

    /// <summary>Whether a block is visible, or a write of it is running.</summary>
    public bool Knows(BlockKey key)
    {
        using (Enter())
            return Find(key) is not null || _nodes.Find(in key) is { Writes: not null };
    }

    /// <summary>Whether a block is visible. Neither extends its life nor counts as use.</summary>
    public bool Contains(BlockKey key) => Look(key) is not null;

    /// <summary>Generation and shape of the visible block, or null. Neither extends its life nor counts as use.</summary>
    public (ulong Generation, KvLayout Layout)? Describe(BlockKey key) =>
        Look(key) is { } entry ? (entry.Generation, entry.Layout) : null;

    /// <summary>Block before the visible block, and tokens of a block; null when it is not visible. Neither extends its life nor counts as
    /// use.</summary>
    public (BlockHash Parent, int TokensPerBlock)? DescribePlace(BlockKey key) =>
        Look(key) is { } entry ? (entry.Lineage.Parent, entry.Layout.TokensPerBlock) : null;

    /// <summary>
    /// Counts how many of the blocks are visible, from the first up to the first that is not.
    /// Neither extends lives nor counts as use.
    /// </summary>
    public int Match(NamespaceId ns, ReadOnlySpan<BlockHash> hashes)
    {
        var count = 0;
        while (count < hashes.Length && Look(new BlockKey(ns, hashes[count])) is not null)
            count++;
        return count;
    }

    /// <summary>Takes a lease on a block and counts a use.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="request">The request, from <see cref="BeginRequest(NamespaceId, BlockHash, ReadOnlySpan{BlockHash}, in
    /// RequestFacts)"/>; 0 when nobody has named it.</param>
    /// <returns>The lease, or null when the block is not visible, or its tenant has all that it may have out of reach of
    /// eviction.</returns>
    public BlockLease? TryLease(BlockKey key, long request = 0)
    {
        // What is removed at the moment is looked for again: another one may come in its place.
        for (var wait = new SpinWait(); !Term.IsOver && Look(key) is { } entry; wait.SpinOnce())
        {
            var charged = entry.Account.Limits.Locked == long.MaxValue ? 0 : entry.ArenaBytes;
            if (charged > 0 && !entry.Account.TryCharge(charged))
                return LeaseUnderLock(key, request, held: false);
            if (entry.Leases.TryTake())
            {
                Note(new BlockUse(entry, request, _deadlines.NowMilliseconds, charged));
                return new BlockLease(this, entry);
            }

            if (charged > 0)
                entry.Account.Uncharge(charged);
        }

        return null;
    }

    /// <summary>Takes a lease on a block for the silo's own sake, which is no use: what was stored, or will be read, is not used twice.
    /// </summary>
    /// <returns>As <see cref="TryLease"/>.</returns>
    public BlockLease? TryHold(BlockKey key)
    {
        if (Look(key) is { Account.Limits.Locked: < long.MaxValue })
            return LeaseUnderLock(key, BlockUse.None, held: true);
        if (TryTake(key) is not { } entry)
            return null;
        Note(new BlockUse(entry, BlockUse.None, 0, 0));
        return new BlockLease(this, entry);
    }

    /// <summary>A block that is leased already is used, as by a <see cref="TryLease"/> of its key.</summary>
    /// <returns>False when it must not be read any more: it was deleted, replaced, or is at the end of its life.</returns>
    public bool TryUse(BlockLease lease, long request)
    {
        var entry = lease.Entry;
        if (Term.IsOver || entry.Node.Visible != entry || IsOver(entry))
            return false;
        Note(new BlockUse(entry, request, _deadlines.NowMilliseconds, 0));
        return true;
    }

    internal void Release(BlockEntry entry)
    {
        switch (entry.Leases.Release())
        {
            case LeaseEnd.LastThatWasTold:
                Note(new BlockUse(entry, BlockUse.None, 0, 0));
                break;
            case LeaseEnd.LastOfClosed:
                using (Enter())
                {
                    _counters.LeasedBlocks--;
                    FreeMemory(entry);
                }

                break;
        }
    }

    private BlockEntry? TryTake(BlockKey key)
    {
        for (var wait = new SpinWait(); !Term.IsOver && Look(key) is { } entry; wait.SpinOnce())
        {
            if (entry.Leases.TryTake())
                return entry;
        }

        return null;
    }

    // Near a limit of its account, or where all that comes before it counts too.
    private BlockLease? LeaseUnderLock(BlockKey key, long request, bool held)
    {
        using (Enter())
            return !Term.IsOver && Find(key) is { } entry ? LeaseIfAllowed(entry, request, held) : null;
    }

    // Whether a block may be put out of reach of eviction for its tenant: for a while, as it is read, or with all before it, for longer.
    // Charged first, since others are charged without the lock meanwhile.
    private BlockLease? LeaseIfAllowed(BlockEntry entry, long request, bool held)
    {
        var account = entry.Account;
        var bytes = entry.Node.Locks > 0 ? 0 : held ? BlockNodes.BytesToLock(entry.Node) : entry.ArenaBytes;
        var charged = account.TryCharge(bytes);
        if (!charged && entry.Node.Locks == 0 && !account.HasNothingLocked)
            return null;
        var lease = Lease(entry, request);
        if (charged)
            account.Uncharge(bytes);
        return lease;
    }

    private static bool MayPin(BlockEntry entry) => entry.Node.Locks > 0 || entry.Account.MayLock(BlockNodes.BytesToLock(entry.Node));

    // Under the lock, under which nobody closes it.
    private BlockLease Lease(BlockEntry entry, long request)
    {
        entry.Leases.TryTake();
        TellLeases(entry);
        if (request != BlockUse.None && entry.State == BlockState.Sealed)
            Use(entry.Node, entry, request, _deadlines.EnteredMilliseconds);
        return new BlockLease(this, entry);
    }

    private void Note(in BlockUse use)
    {
        bool due;
        while (!_uses.TryAdd(use, out due))
        {
            using (Enter())
                TellUses();
        }

        if (!due || !_lock.TryEnter())
            return;
        try
        {
            TellUses();
        }
        finally
        {
            _lock.Exit();
        }
    }

    private void TellUses()
    {
        _uses.BeginToTell();
        for (var stripe = 0; stripe < _uses.Stripes; stripe++)
        {
            foreach (ref readonly var use in _told.AsSpan(0, _uses.Take(stripe, _told)))
            {
                var entry = use.Entry;
                TellLeases(entry);
                if (use.Charged > 0)
                    entry.Account.Uncharge(use.Charged);
                if (use.Request == BlockUse.None || entry.Node.Entry != entry)
                    continue;
                _lastUsed = Math.Max(_lastUsed, use.Now); // of several threads' uses the later may be told first
                Use(entry.Node, entry, use.Request, _lastUsed);
            }
        }
    }

    private void TellLeases(BlockEntry entry)
    {
        var change = entry.Leases.Tell();
        _counters.LeasedBlocks += change;
        if (entry.State != BlockState.Sealed)
            return; // a follower of a running write, whose block is in no policy yet
        if (change > 0)
            _nodes.Lock(entry.Node);
        else if (change < 0)
            _nodes.Unlock(entry.Node);
    }
}
