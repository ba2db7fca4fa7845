namespace KvCache.Storage;

/// <summary>
/// Chooses what to evict. Only blocks in the recency list can be chosen, which are those without lease and without pin.
/// </summary>
/// <param name="arena">Memory of the blocks.</param>
/// <param name="byOffset">Every block that has memory, unfinished and removed ones included.</param>
/// <param name="recency">Blocks that can be evicted.</param>
/// <param name="scan">See <see cref="BlockStoreOptions.EvictionScan"/>.</param>
internal sealed class EvictionPlanner(Arena arena, Dictionary<long, BlockEntry> byOffset, RecencyList recency, int scan)
{
    private readonly List<BlockEntry> _window = [];

    /// <summary>
    /// The least recently used block, or rather the deepest evictable block below it. Null when nothing can be evicted.
    /// </summary>
    public BlockEntry? SelectVictim()
    {
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
    /// The victim and its evictable neighbours, until together with free memory they make one run. Valid until the next call.
    /// </summary>
    public List<BlockEntry> WindowAround(BlockEntry victim, long needed)
    {
        // Neighbours are collected first, to be evicted together: freeing merges runs and would move the borders meanwhile.
        _window.Clear();
        _window.Add(victim);
        var bytes = Arena.RoundUp(victim.Length);
        foreach (var backward in (ReadOnlySpan<bool>)[false, true])
        {
            var at = victim.Offset;
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

        return _window;
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
