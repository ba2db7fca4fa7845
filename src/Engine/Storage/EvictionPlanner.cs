namespace KvCache.Engine.Storage;

/// <summary>
/// Chooses what to evict. Only blocks in the recency list can be chosen, which are those without lease and without pin.
/// </summary>
/// <param name="arena">Memory of the blocks.</param>
/// <param name="byOffset">Every block that has memory, unfinished and removed ones included.</param>
/// <param name="recency">Blocks that can be evicted.</param>
/// <param name="copies">Copies of other silos' blocks that can be evicted; they go first.</param>
/// <param name="scan">See <see cref="BlockStoreOptions.EvictionScan"/>.</param>
internal sealed class EvictionPlanner(Arena arena, Dictionary<long, BlockEntry> byOffset, RecencyList recency, RecencyList copies, int scan)
{
    private readonly List<BlockEntry> _window = [];
    private long _search;

    /// <summary>
    /// The least recently used copy, else the least recently used block, or rather the deepest evictable block below it. Null when nothing can be
    /// evicted.
    /// </summary>
    public BlockEntry? SelectVictim()
    {
        if (copies.Oldest is { } copy)
            return copy;
        BlockEntry? fallback = null;
        var looked = 0;
        for (var candidate = recency.Oldest; candidate is not null && looked < scan; candidate = candidate.Newer, looked++)
        {
            var leaf = Descend(candidate);
            if (leaf.FirstChild is null)
                return leaf;
            fallback ??= leaf;
        }

        return fallback;
    }

    /// <summary>
    /// Blocks that, evicted together, make one run of memory with the free memory between them: around the least recently used
    /// block that has such a run. Valid until the next call; empty when no eviction makes one.
    /// </summary>
    /// <remarks>For blocks of one size the first one is the answer. At worst every block and its neighbours are looked at once.</remarks>
    public List<BlockEntry> FindWindow(long needed)
    {
        _search++;
        if (FindWindow(copies, needed) || FindWindow(recency, needed))
            return _window;
        _window.Clear();
        return _window;
    }

    private bool FindWindow(RecencyList blocks, long needed)
    {
        for (var candidate = blocks.Oldest; candidate is not null; candidate = candidate.Newer)
        {
            if (candidate.TooTightFor == _search)
                continue;
            if (TryCollect(candidate, needed))
                return true;

            // Up to the next blocks that must stay on both sides, all have the same room, which is too small.
            foreach (var entry in _window)
                entry.TooTightFor = _search;
        }

        return false;
    }

    private bool TryCollect(BlockEntry candidate, long needed)
    {
        _window.Clear();
        _window.Add(candidate);
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
                    _window.Add(entry);
                }

                at = neighbour.Offset;
                bytes += neighbour.Bytes;
            }
        }

        return bytes >= needed;
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
