namespace KvCache.Engine.Storage;

/// <summary>Blocks by last use, linked through the entries themselves: every operation is O(1) and allocates nothing.</summary>
/// <param name="all">Sum over all lists of a store.</param>
internal sealed class RecencyList(EvictableBytes all)
{
    private BlockEntry? _newest;

    public BlockEntry? Oldest { get; private set; }

    /// <summary>Arena bytes of the blocks in the list.</summary>
    public long Bytes { get; private set; }

    /// <summary>Appends a block.</summary>
    /// <param name="entry">The block.</param>
    /// <param name="now">The store's clock of uses: lists are compared by it.</param>
    public void AddNewest(BlockEntry entry, long now)
    {
        entry.InRecency = true;
        entry.ListedAt = now;
        Count(entry.ArenaBytes);
        entry.Older = _newest;
        entry.Newer = null;
        if (_newest is not null)
            _newest.Newer = entry;
        else
            Oldest = entry;
        _newest = entry;
    }

    public void Remove(BlockEntry entry)
    {
        if (!entry.InRecency)
            return;
        if (entry.Newer is not null)
            entry.Newer.Older = entry.Older;
        else
            _newest = entry.Older;
        if (entry.Older is not null)
            entry.Older.Newer = entry.Newer;
        else
            Oldest = entry.Newer;
        entry.Newer = entry.Older = null;
        entry.InRecency = false;
        Count(-entry.ArenaBytes);
    }

    private void Count(long bytes)
    {
        Bytes += bytes;
        all.Bytes += bytes;
    }
}
