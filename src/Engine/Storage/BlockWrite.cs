namespace KvCache.Engine.Storage;

/// <summary>
/// Arena memory reserved for one block that is being written. Nobody else sees it until <see cref="BlockStore.Publish"/>;
/// disposing it before gives the memory back.
/// </summary>
/// <remarks>One owner: the thread that receives into it decides when to publish or dispose.</remarks>
internal sealed class BlockWrite : IDisposable
{
    private readonly BlockStore _store;
    private int _completeLayers;
    private volatile WriteEnd _end;
    private volatile bool _hasEnded;

    internal BlockWrite(BlockStore store, BlockEntry entry, long request)
    {
        _store = store;
        Entry = entry;
        Request = request;
        Behind = entry.Node.Parent;
    }

    internal BlockEntry Entry { get; }

    internal BlockNode Node => Entry.Node;

    /// <summary>The request that stores it; see <see cref="BlockStore.BeginRequest(NamespaceId, BlockHash, ReadOnlySpan{BlockHash}, in
    /// RequestFacts)"/>.</summary>
    internal long Request { get; }

    /// <summary>What the write keeps from being evicted: the block before it, and so all before that.</summary>
    internal BlockNode? Behind { get; }

    /// <summary>Guarded by the store's lock.</summary>
    internal bool Revoked { get; set; }

    /// <summary>It was published or given back. Set under the store's lock, and for good.</summary>
    internal bool HasEnded
    {
        get => _hasEnded;
        set => _hasEnded = value;
    }

    /// <summary>Another running write of the same key; guarded by the store's lock.</summary>
    internal BlockWrite? NextOfKey { get; set; }

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

    /// <summary>Layers that a follower may read now, from the first on; null when the write has failed.</summary>
    internal int? FollowableLayers => _end switch
    {
        WriteEnd.Failed => null,
        WriteEnd.Complete => Layout.Layers,
        _ => Volatile.Read(ref _completeLayers),
    };

    /// <summary>How the write ended. Set once, under the store's lock.</summary>
    internal WriteEnd End
    {
        get => _end;
        set
        {
            if (_end != WriteEnd.None)
                return;
            _end = value;
            _store.Following.Signal();
        }
    }

    /// <summary>
    /// Lets followers read the first layers, whose bytes and checksums are there. The last layer is theirs with the publication, when the
    /// block is known to be whole.
    /// </summary>
    /// <param name="layers">Number of layers. Fewer than before change nothing. May be called from any thread.</param>
    public void Complete(int layers)
    {
        layers = Math.Min(layers, Layout.Layers - 1);
        for (var known = Volatile.Read(ref _completeLayers); known < layers;)
        {
            var before = Interlocked.CompareExchange(ref _completeLayers, layers, known);
            if (before == known)
            {
                _store.Following.Signal();
                return;
            }

            known = before;
        }
    }

    /// <summary>Gives the memory back unless the block was published.</summary>
    public void Dispose() => _store.Abandon(this);
}

/// <summary>How a write ended.</summary>
internal enum WriteEnd : byte
{
    /// <summary>It runs.</summary>
    None,

    /// <summary>Its block was whole, whether it became visible or another one was before.</summary>
    Complete,

    /// <summary>It was given up, was revoked, or arrived damaged.</summary>
    Failed,
}
