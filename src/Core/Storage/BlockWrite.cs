namespace KvCache.Storage;

/// <summary>
/// Arena memory reserved for one block that is being written. Nobody else sees it until <see cref="BlockStore.Publish"/>;
/// disposing it before gives the memory back.
/// </summary>
/// <remarks>One owner: the thread that receives into it decides when to publish or dispose.</remarks>
public sealed class BlockWrite : IDisposable
{
    private readonly BlockStore _store;

    internal BlockWrite(BlockStore store, BlockEntry entry)
    {
        _store = store;
        Entry = entry;
    }

    internal BlockEntry Entry { get; }

    /// <summary>Guarded by the store's lock.</summary>
    internal bool Revoked { get; set; }

    /// <summary>Key of the block.</summary>
    public BlockKey Key => Entry.Key;

    /// <summary>Id of this write. A replacing write gets a new one when it is published.</summary>
    public ulong Generation => Entry.Generation;

    /// <summary>Shape of the block.</summary>
    public KvLayout Layout => Entry.Layout;

    /// <summary>The reserved memory, <see cref="KvLayout.BlockBytes"/> long; not cleared.</summary>
    /// <exception cref="ObjectDisposedException">The write was published or given back.</exception>
    public Span<byte> Bytes
    {
        get
        {
            ObjectDisposedException.ThrowIf(Entry.State != BlockState.Writing, this);
            return _store.Arena.Span(Entry.Offset, Entry.Length);
        }
    }

    /// <summary>CRC-32 of every layer, filled by whoever writes the bytes.</summary>
    public Span<uint> Checksums => Entry.Checksums;

    /// <summary>Gives the memory back unless the block was published.</summary>
    public void Dispose() => _store.Abandon(Entry);
}
