namespace KvCache.Engine.Storage;

/// <summary>
/// Finds blocks that, evicted together, make one run of memory with the free memory between them. It is for stores whose blocks have
/// several sizes: where all have one, every block that goes makes such a run.
/// </summary>
/// <remarks>
/// Walks over the arena from where the last search ended, over so many runs of memory at most. What is behind a block in its chain goes
/// with it, and before it.
/// </remarks>
/// <param name="arena">Memory of the blocks.</param>
/// <param name="byOffset">Every block that has memory, unfinished and removed ones included.</param>
internal sealed class MemoryWindow(Arena arena, EntriesByOffset byOffset)
{
    private const int MostRuns = 2048; // well below a millisecond
    private const int MostBehind = 1024; // blocks that go because they are behind one that lies in the window

    private readonly List<BlockEntry> _blocks = [];
    private readonly Stack<BlockNode> _open = [];
    private long _search, _rover;

    /// <summary>Runs of memory that were looked at.</summary>
    public long Steps { get; private set; }

    /// <summary>What has to go, each behind all that is behind it in its chain. Valid until the next search.</summary>
    public IReadOnlyList<BlockEntry> Blocks => _blocks;

    /// <returns>False when there is no such run, or none was found in time.</returns>
    public bool Find(TenantAccount taker, long needed)
    {
        var found = Search(taker, needed);
        ForgetTally();
        return found;
    }

    /// <summary>Nobody falls below its share for another one's sake: not by the last block either.</summary>
    public static bool MayTake(TenantAccount taker, TenantAccount from, long bytes) =>
        taker == from || from.UsedBytes - from.WindowBytes - bytes >= from.Limits.Share;

    private bool Search(TenantAccount taker, long needed)
    {
        long began = byOffset.Find(_rover) is null ? 0 : _rover, at = began, start = at;
        var wrapped = false;
        Restart();
        for (var looked = 0; looked < MostRuns && !(wrapped && start >= began); looked++, Steps++)
        {
            if (!arena.TryGetRun(at, out var bytes, out var free))
            {
                if (wrapped || began == 0)
                    return false;
                (wrapped, at, start) = (true, 0, 0);
                Restart();
                continue;
            }

            at += bytes;
            if (!free && !TryAdd(taker, byOffset.Find(at - bytes)))
            {
                Restart();
                (start, _rover) = (at, at - bytes);
            }
            else if (at - start >= needed)
            {
                return true;
            }
        }

        return false;
    }

    private bool TryAdd(TenantAccount taker, BlockEntry? entry)
    {
        if (entry is not { State: BlockState.Sealed, Node.Locks: 0, Leases.Leases: 0 })
            return false;
        if (entry.Search == _search)
            return true;
        var first = _blocks.Count;
        _open.Push(entry.Node);
        while (_open.TryPop(out var node))
        {
            if (node.Locks > 0)
            {
                _open.Clear();
                return false;
            }

            if (node.Entry is { } block && block.Search != _search)
            {
                block.Search = _search;
                block.Account.WindowBytes += block.ArenaBytes;
                _blocks.Add(block);
            }

            for (var child = node.FirstChild; child is not null; child = child.NextSibling)
            {
                if (child.Entry?.Search != _search)
                    _open.Push(child);
                if (_open.Count + _blocks.Count - first <= MostBehind)
                    continue;
                _open.Clear();
                return false;
            }
        }

        _blocks.Reverse(first, _blocks.Count - first);
        return MayTake(taker, entry.Account, 0);
    }

    private void Restart()
    {
        ForgetTally();
        _blocks.Clear();
        _search++;
    }

    private void ForgetTally()
    {
        foreach (var block in _blocks)
            block.Account.WindowBytes = 0;
    }
}
