namespace KvCache.Engine.Storage;

/// <content>Reading blocks that are still being written.</content>
internal sealed partial class BlockStore
{
    private readonly List<BlockWrite> _followed = []; // running writes that somebody has followed

    /// <summary>Tells those who wait for a running write that something has happened.</summary>
    internal FollowSignal Following { get; } = new();

    /// <summary>
    /// Takes a block that is visible or of which a running write has at least one complete layer, and waits for one that has not. Nothing
    /// is locked while it waits.
    /// </summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="patience">Longest wait.</param>
    /// <returns>The block, or null when it has not come.</returns>
    public FollowedBlock? Follow(BlockKey key, TimeSpan patience)
    {
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            var seen = Following.Version;
            if (TryFollow(key) is { } block)
                return block;
            if (!Following.Wait(seen, deadline))
                return null;
        }
    }

    private FollowedBlock? TryFollow(BlockKey key)
    {
        using (Enter())
        {
            if (Term.IsOver)
                return null;
            if (Find(key) is { } entry)
                return LeaseIfAllowed(entry, request: 0, held: false) is { } lease ? new FollowedBlock(this, lease, write: null) : null;
            for (var write = _nodes.Find(in key)?.Writes; write is not null; write = write.NextOfKey)
            {
                if (write.FollowableLayers is null or 0)
                    continue;
                if (!_followed.Contains(write))
                    _followed.Add(write);
                return new FollowedBlock(this, Lease(write.Entry, BlockUse.None), write);
            }

            return null;
        }
    }

    // A deletion keeps an older write from becoming visible; its followers need not wait for the end of it.
    private void TellFollowers(BlockKey key, ulong stamp)
    {
        foreach (var write in _followed)
        {
            if (write.Key == key && write.Generation < stamp)
                write.End = WriteEnd.Failed;
        }
    }
}
