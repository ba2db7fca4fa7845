namespace KvCache.Engine.Storage;

/// <summary>
/// Chooses what to evict. Only blocks in the recency lists can be chosen, which are those without lease and without pin; of those, blocks
/// of tenants that
/// have more than their share, and the taker's own.
/// </summary>
/// <param name="arena">Memory of the blocks.</param>
/// <param name="byOffset">Every block that has memory, unfinished and removed ones included.</param>
/// <param name="accounts">Whose blocks they are.</param>
/// <param name="scan">See <see cref="BlockStoreOptions.EvictionScan"/>.</param>
internal sealed class EvictionPlanner(Arena arena, Dictionary<long, BlockEntry> byOffset, TenantAccounts accounts, int scan)
{
    private readonly List<BlockEntry> _window = [];
    private long _search;

    /// <summary>
    /// The least recently used copy, else the least recently used block, or rather the deepest evictable block below it: of those who have
    /// more than
    /// their share, else of the taker. Null when nothing may be evicted.
    /// </summary>
    /// <param name="taker">Who needs the memory.</param>
    /// <param name="needed">How much of it.</param>
    public BlockEntry? SelectVictim(TenantAccount taker, long needed) =>
        SelectCopy(taker, needed) ?? (OldestAboveShare(taker, needed, copies: false) ?? taker.Recency.Oldest) switch
        {
            { } oldest => LeafBelow(oldest),
            null => null,
        };

    /// <summary>The block of an account that goes first.</summary>
    public BlockEntry? SelectOwn(TenantAccount account) =>
        account.Copies.Oldest ?? (account.Recency.Oldest is { } oldest ? LeafBelow(oldest) : null);

    /// <summary>The least recently used copy that may be evicted.</summary>
    public BlockEntry? SelectCopy(TenantAccount taker, long needed) => OldestAboveShare(taker, needed, copies: true) ?? taker.Copies.Oldest;

    /// <summary>
    /// Blocks that, evicted together, make one run of memory with the free memory between them: around the least recently used
    /// block that has such a run. Valid until the next call; empty when no eviction makes one.
    /// </summary>
    /// <remarks>For blocks of one size the first one is the answer. At worst every block and its neighbours are looked at once.</remarks>
    public List<BlockEntry> FindWindow(TenantAccount taker, long needed)
    {
        _search++;
        if (FindWindow(taker, needed, copies: true) || FindWindow(taker, needed, copies: false))
            return _window;
        _window.Clear();
        return _window;
    }

    private BlockEntry? OldestAboveShare(TenantAccount taker, long needed, bool copies)
    {
        BlockEntry? best = null;
        foreach (var account in accounts.All)
        {
            var oldest = (copies ? account.Copies : account.Recency).Oldest;
            if (oldest is null || (best is not null && oldest.ListedAt > best.ListedAt))
                continue;
            if (account == taker ? account.UsedBytes + needed > account.Limits.Share : MayTake(taker, account, oldest.ArenaBytes))
                best = oldest;
        }

        return best;
    }

    // Nobody falls below its share for another one's sake: not by the last block either.
    private static bool MayTake(TenantAccount taker, TenantAccount from, long bytes) =>
        taker == from || from.UsedBytes - from.WindowBytes - bytes >= from.Limits.Share;

    private BlockEntry LeafBelow(BlockEntry oldest)
    {
        if (oldest.IsCopy)
            return oldest;
        BlockEntry? fallback = null;
        var looked = 0;
        for (var candidate = oldest; candidate is not null && looked < scan; candidate = candidate.Newer, looked++)
        {
            var leaf = Descend(candidate);
            if (leaf.FirstChild is null)
                return leaf;
            fallback ??= leaf;
        }

        return fallback!;
    }

    private bool FindWindow(TenantAccount taker, long needed, bool copies)
    {
        foreach (var account in accounts.All)
        {
            if (account.Recency.Bytes + account.Copies.Bytes == 0)
                continue;
            var limited = 0;
            for (var candidate = (copies ? account.Copies : account.Recency).Oldest; candidate is not null
                && limited < scan; candidate = candidate.Newer)
            {
                if (candidate.TooTightFor == _search)
                    continue;
                if (!MayTake(taker, account, candidate.ArenaBytes))
                    break;
                var (found, byShare) = Collect(taker, candidate, needed);
                foreach (var entry in _window)
                    entry.Account.WindowBytes = 0;
                if (found)
                    return true;

                // Up to the next blocks that must stay on both sides, all have the same room, which is too small. Where a share was the
                // limit, another
                // candidate may have more.
                if (byShare)
                    limited++;
                else
                    _window.ForEach(entry => entry.TooTightFor = _search);
            }
        }

        return false;
    }

    private (bool Found, bool LimitedByShare) Collect(TenantAccount taker, BlockEntry candidate, long needed)
    {
        _window.Clear();
        var limited = false;
        Add(candidate);
        var bytes = candidate.ArenaBytes;
        foreach (var backward in (ReadOnlySpan<bool>)[false, true])
        {
            var at = candidate.Offset;
            while (bytes < needed && arena.TryGetNeighbour(at, backward, out var neighbour))
            {
                if (!neighbour.Free)
                {
                    if (!byOffset.TryGetValue(neighbour.Offset, out var entry) || !entry.InRecency)
                        break;
                    if (!MayTake(taker, entry.Account, entry.ArenaBytes))
                    {
                        limited = true;
                        break;
                    }

                    Add(entry);
                }

                at = neighbour.Offset;
                bytes += neighbour.Bytes;
            }
        }

        return (bytes >= needed, limited);

        void Add(BlockEntry entry)
        {
            _window.Add(entry);
            entry.Account.WindowBytes += entry.ArenaBytes;
        }
    }

    private static BlockEntry Descend(BlockEntry entry)
    {
        while (true)
        {
            BlockEntry? oldest = null;
            for (var child = entry.FirstChild; child is not null; child = child.NextSibling)
            {
                if (child.InRecency && (oldest is null || child.LastUse < oldest.LastUse))
                    oldest = child;
            }

            if (oldest is null)
                return entry;
            entry = oldest;
        }
    }
}
