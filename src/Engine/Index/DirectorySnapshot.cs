namespace KvCache.Engine.Index;

/// <summary>
/// A full copy of what this silo says to the others: its tombstones, the blocks it has, and those it knows to be in Redis. It is read in
/// chunks, between which everything goes on; whatever a chunk missed has a later number in the log.
/// </summary>
/// <remarks>One reader.</remarks>
internal sealed class DirectorySnapshot
{
    private readonly BlockDirectory _directory;
    private readonly List<BlockKey> _keys = [];
    private Part _part;
    private int _cursor;

    /// <summary>Begins a copy.</summary>
    /// <param name="directory">What is copied.</param>
    public DirectorySnapshot(BlockDirectory directory)
    {
        _directory = directory;

        // The number comes before the first block: what changes from here on has a later one.
        Sequence = directory.Log.Next;
    }

    private enum Part
    {
        Tombstones,
        Blocks,
        InRedis,
        End,
    }

    /// <summary>Number of the first delta of the log that the copy may lack.</summary>
    public ulong Sequence { get; }

    /// <summary>Appends the next chunk.</summary>
    /// <param name="deltas">Receives it; a chunk may be empty.</param>
    /// <returns>False when there was none left.</returns>
    public bool Read(List<IndexDelta> deltas)
    {
        switch (_part)
        {
            case Part.Tombstones:
                _directory.Tombstones.CopyTo(deltas);
                _part = Part.Blocks;
                return true;
            case Part.Blocks:
                ReadKeys(BlockDirectory.Self, IndexOperation.Added, deltas, Part.InRedis);
                return true;
            case Part.InRedis:
                ReadKeys(PrefixIndex.RedisHolder, IndexOperation.Persisted, deltas, Part.End);
                return true;
            default:
                return false;
        }
    }

    private void ReadKeys(int holder, IndexOperation operation, List<IndexDelta> deltas, Part next)
    {
        _keys.Clear();
        if (!_directory.Index.ReadKeys(holder, ref _cursor, _keys))
        {
            _cursor = 0;
            _part = next;
            return;
        }

        foreach (var key in _keys)
            deltas.Add(new IndexDelta(operation, key, 0));
    }
}
