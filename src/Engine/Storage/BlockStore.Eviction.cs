using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <content>Making room.</content>
internal sealed partial class BlockStore
{
    private const int Slice = 256; // blocks that go before others are let in

    private readonly MemoryWindow _window;
    private long _wanted, _passedOn = -1; // memory of that size is not freed but passed on

    /// <summary>Memory that a write could get, in bytes: what is free, and what could be evicted for it.</summary>
    public long AvailableBytes
    {
        get
        {
            using (Enter())
                return Arena.FreeBytes + Accounts.Evictable.Bytes;
        }
    }

    /// <summary>Evicts everything that can be evicted.</summary>
    /// <returns>Number of blocks evicted.</returns>
    public int Clear()
    {
        var count = 0;
        foreach (var account in Accounts.All)
        {
            while (true)
            {
                using (Enter())
                {
                    var before = count;
                    while (count - before < Slice && SelectOwn(account) is { } victim)
                        count += Evict(victim) > 0 ? 1 : 0;
                    if (count == before)
                        break;
                }

                LetOthersIn();
            }
        }

        return count;
    }

    private TenantBlocks BlocksOf(TenantAccount account) => account.Visible ??= new TenantBlocks(account, _options.Eviction);

    // A tenant at its cap makes room among its own.
    private bool MakeRoomInAccount(TenantAccount account, long needed)
    {
        while (account.UsedBytes + needed > account.Limits.Cap && SelectOwn(account) is { } victim)
            Evict(victim);
        return account.UsedBytes + needed <= account.Limits.Cap;
    }

    private bool MakeRoomForCopy(TenantAccount account, long needed)
    {
        var limit = (long)(_options.MaxCopiedShare * Arena.Capacity) - needed;
        while (_counters.CopiedBytes > limit && SelectCopy(account, needed) is { } oldest)
            Evict(oldest);
        return _counters.CopiedBytes <= limit;
    }

    private NoRoom Allocate(BlockNode node, int bytes, in ChainUse use, Claim claim, out long offset)
    {
        if (Arena.TryAllocate(bytes, out offset))
            return NoRoom.None;
        for (var swept = 0; swept < Slice && SweepDeadlines(1) > 0; swept++)
        {
            if (Arena.TryAllocate(bytes, out offset))
                return NoRoom.None;
        }

        long needed = Arena.RoundUp(bytes), evicted = 0;
        if (needed > Arena.FreeBytes + Accounts.Evictable.Bytes)
            return NoRoom.InUse;
        if (claim == Claim.Orphan)
            return NoRoom.Prefix;
        var refusal = SelectVictim(node, needed, use, claim, out var victim);
        if (refusal != NoRoom.None)
            return refusal;

        // Nobody loses a block for a request that is refused anyway.
        if (victim!.Entry!.ArenaBytes < needed && !_window.Find(node.Account, needed))
            return NoRoom.InUse;

        // What is worth least first. When twice the needed bytes are gone and still no run is long enough, memory is fragmented: then
        // blocks go that lie side by side.
        do
        {
            (_wanted, _passedOn) = (needed, -1);
            evicted += Evict(victim!);
            _wanted = 0;
            offset = _passedOn;
            if (offset >= 0 || Arena.TryAllocate(bytes, out offset))
                return NoRoom.None;
        }
        while (evicted < 2 * needed && SelectVictim(node, needed, use, Claim.Insists, out victim) == NoRoom.None);

        if (_window.Find(node.Account, needed))
        {
            // What is behind a block goes before it; where that was leased a moment ago, it stays.
            foreach (var block in _window.Blocks)
            {
                if (Evict(block.Node) == 0)
                    break;
            }
        }

        return Arena.TryAllocate(bytes, out offset) ? NoRoom.None : NoRoom.InUse;
    }

    // Copies first; then of those who have more than their share what is worth least, else of the taker's own.
    private NoRoom SelectVictim(BlockNode node, long needed, in ChainUse use, Claim claim, out BlockNode? victim)
    {
        var taker = node.Account;
        victim = SelectCopy(taker, needed);
        if (victim is not null)
            return NoRoom.None;
        var arriving = new ArrivingBlock(node.Fingerprint, -1, Partial: false);
        var (least, refusal) = (double.MaxValue, NoRoom.None);
        foreach (var account in Accounts.All)
        {
            if (account.EvictableBytes > 0 && IsAboveShare(account, taker, needed))
                Consider(account, arriving, use, ref victim);
        }

        if (victim is null && taker.EvictableBytes > 0)
            Consider(taker, arriving, use, ref victim);
        if (victim is null)
            return Accounts.Evictable.Bytes > taker.EvictableBytes ? NoRoom.Share : NoRoom.InUse;

        // Where the block before it is somewhere else, the tree does not know which blocks here come before it; the request does.
        return node.Parent is { Entry: null, Writes: null } && victim.Request == use.Request
            ? NoRoom.Prefix
            : claim == Claim.Insists ? NoRoom.None : refusal;

        void Consider(TenantAccount account, in ArrivingBlock arriving, in ChainUse use, ref BlockNode? victim)
        {
            var choice = BlocksOf(account).Choose(arriving, use, out var candidate, out var score);
            if (candidate is null || score >= least || !MemoryWindow.MayTake(taker, account, candidate.Entry!.ArenaBytes))
                return;
            (victim, least) = (candidate, score);
            refusal = choice == VictimChoice.NotWorthIt && account == taker ? NoRoom.Worth : NoRoom.None;
        }
    }

    private static bool IsAboveShare(TenantAccount account, TenantAccount taker, long needed) =>
        account.UsedBytes + (account == taker ? needed : 0) > account.Limits.Share;

    private BlockNode? SelectOwn(TenantAccount account)
    {
        if (account.Visible is not { } blocks)
            return null;
        if (blocks.OldestCopy is { } copy)
            return copy;
        blocks.Choose(default, new ChainUse { Now = _deadlines.EnteredMilliseconds }, out var victim, out _);
        return victim;
    }

    private BlockNode? SelectCopy(TenantAccount taker, long needed)
    {
        BlockNode? best = null;
        foreach (var account in Accounts.All)
        {
            if (account.Visible?.OldestCopy is { } oldest && IsAboveShare(account, taker, needed)
                && (best is null || oldest.Entry!.LastUse < best.Entry!.LastUse)
                && MemoryWindow.MayTake(taker, account, oldest.Entry!.ArenaBytes))
                best = oldest;
        }

        return best ?? taker.Visible?.OldestCopy;
    }

    // Returns 0 when somebody has leased it a moment ago: then it cannot go, as the tree knows from now on.
    private long Evict(BlockNode node)
    {
        var entry = node.Entry!;
        if (!entry.Leases.TryClose())
        {
            TellLeases(entry);
            return 0;
        }

        RemoveEvicted(entry);
        return entry.ArenaBytes;
    }

    private void RemoveEvicted(BlockEntry entry)
    {
        RemoveEntry(entry, evicted: true);
        _counters.Evicted++;
        _counters.EvictedBytes += entry.Length;
        entry.Account.Evicted++;
    }
}

/// <summary>Why there is no room for a block.</summary>
internal enum NoRoom : byte
{
    /// <summary>There is.</summary>
    None,

    /// <summary>All that could go for it is leased, pinned, being written, or comes before something that is.</summary>
    InUse,

    /// <summary>Its tenant has all that it may have.</summary>
    Share,

    /// <summary>
    /// Room could be made only by evicting what it comes behind, or what it comes behind is not here: a chain that does not fit keeps its
    /// head.
    /// </summary>
    Prefix,

    /// <summary>All that could go for it is worth more, as far as the policy has learned.</summary>
    Worth,
}

/// <summary>What a block may ask of others.</summary>
internal enum Claim : byte
{
    /// <summary>Room in place of what is worth less.</summary>
    Worth,

    /// <summary>Room in place of whatever can go: the first block of a chain, without which the others are nothing, one that replaces
    /// another, that has to be persisted or copied, or that was fetched because it is read.</summary>
    Insists,

    /// <summary>Free memory only: what it comes behind is not here, nor known to be anywhere.</summary>
    Orphan,
}
