namespace KvCache.Engine.Storage;

/// <summary>
/// A follower's hold on a block that may still be written. Its memory is not reused while this object lives, like that of a lease, also
/// when the write fails.
/// </summary>
internal sealed class FollowedBlock : IDisposable
{
    private readonly BlockStore _store;
    private readonly BlockWrite? _write;

    internal FollowedBlock(BlockStore store, BlockLease lease, BlockWrite? write)
    {
        _store = store;
        _write = write;
        Lease = lease;
    }

    /// <summary>The block. Of a running write only layers that <see cref="WaitFor"/> has named may be read.</summary>
    public BlockLease Lease { get; }

    /// <summary>Waits until a number of layers can be read, from the first on. Nothing is locked while it waits.</summary>
    /// <param name="layers">Number of layers.</param>
    /// <param name="patience">Longest wait.</param>
    /// <returns>Layers that can be read now; fewer than asked for when the time is over, and 0 when the write has failed: what was read of
    /// it is worthless.</returns>
    public int WaitFor(int layers, TimeSpan patience)
    {
        if (_write is null)
            return Lease.Layout.Layers;
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            var seen = _store.Following.Version;
            if (_write.FollowableLayers is not { } readable)
                return 0;
            if (readable >= layers || !_store.Following.Wait(seen, deadline))
                return readable;
        }
    }

    /// <summary>Releases the block.</summary>
    public void Dispose() => Lease.Dispose();
}
