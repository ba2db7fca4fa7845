namespace KvCache.Engine.Storage;

/// <content>Letting blocks go ahead of need, to a tier below.</content>
internal sealed partial class BlockStore
{
    private const int AheadShare = 50; // of the arena
    private const int AheadBlocks = 8;
    private const int MostAheadShare = 8;
    private const int SizeMemory = 6; // blocks of which the largest counts fade: a 64th each

    private long _largest; // arena bytes

    /// <summary>Called when less memory is free than should be, if blocks can go to a tier below. Under the store's lock: short.</summary>
    public Action? RunsShort { get; set; }

    /// <summary>Blocks that were read from a tier below before anybody asked for them, and were then used.</summary>
    public long UsedAhead
    {
        get
        {
            using (Enter())
                return _counters.UsedAhead;
        }
    }

    // Memory that should be free for writes to come: a fiftieth, or eight of the largest blocks if that is not too much of a small arena.
    private long WantedFree => Math.Min(Math.Max(Arena.Capacity / AheadShare, AheadBlocks * _largest), Arena.Capacity / MostAheadShare);

    /// <summary>Lets blocks go, as the policy chooses, until there is twice the memory that should be free.</summary>
    /// <param name="maxBytes">Most bytes that the tier takes in one call: their memory is free when it has disposed its leases.</param>
    /// <param name="tier">Where they may go.</param>
    /// <returns>Number of blocks that went, wherever to.</returns>
    public int Demote(long maxBytes, IColderTier tier)
    {
        var count = 0;
        using (Enter())
        {
            if (Arena.CommittedBytes < Arena.Capacity || Arena.FreeBytes >= WantedFree)
                return 0;
            long taken = 0;
            for (var tried = 0; tried < Slice && taken < maxBytes && Arena.FreeBytes + taken < 2 * WantedFree; tried++)
            {
                if (SelectAhead() is not { } victim)
                    break;
                var bytes = victim.Entry!.ArenaBytes;
                var free = Arena.FreeBytes;
                if (!LetGo(victim, tier))
                    continue;
                count++;
                if (Arena.FreeBytes == free)
                    taken += bytes;
            }
        }

        LetOthersIn();
        return count;
    }

    /// <summary>A tier below has got or lost a block: the observer hears of it, unless the block is visible here.</summary>
    public void Settle(BlockKey key)
    {
        using (Enter())
        {
            if (Find(key) is null)
                _observer?.Settled(key);
        }
    }

    // Copies first, then of those who have more than their share what is worth least, then of all.
    private BlockNode? SelectAhead()
    {
        BlockNode? victim = null;
        var (least, isAbove) = (double.MaxValue, false);
        foreach (var account in Accounts.All)
        {
            if (account.Visible is not { } blocks || account.EvictableBytes == 0)
                continue;
            if (blocks.OldestCopy is { } copy)
                return copy;
            var above = account.UsedBytes > account.Limits.Share;
            if (isAbove && !above)
                continue;
            blocks.Choose(default, new Eviction.ChainUse { Now = _deadlines.EnteredMilliseconds }, out var candidate, out var score);
            if (candidate is null || (above == isAbove && score >= least))
                continue;
            (victim, least, isAbove) = (candidate, score, above);
        }

        return victim;
    }

    private bool LetGo(BlockNode node, IColderTier tier)
    {
        var entry = node.Entry!;
        if (entry.IsCopy || tier.Has(node.Key))
            return Evict(node) > 0;
        if (entry.Leases.Leases > 0 || !entry.Leases.TryTake())
        {
            TellLeases(entry); // leased a moment ago
            return false;
        }

        var lease = new BlockLease(this, entry);
        var taken = tier.TryTake(lease, entry.WasReused);
        RemoveEvicted(entry);
        if (!taken)
            lease.Dispose();
        return true;
    }

    private void WatchFree(long needed)
    {
        _largest = Math.Max(needed, _largest - (_largest >> SizeMemory));
        if (RunsShort is { } runsShort && Arena.FreeBytes < WantedFree)
            runsShort();
    }
}
