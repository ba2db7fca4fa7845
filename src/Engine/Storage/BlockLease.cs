using KvCache.Checksums;

namespace KvCache.Engine.Storage;

/// <summary>
/// A reader's hold on one generation of a block: its memory is not reused while the lease lives, even when the block is
/// deleted or expires meanwhile. Dispose it from any thread, any number of times.
/// </summary>
internal sealed class BlockLease : IDisposable
{
    private readonly BlockStore _store;
    private readonly BlockEntry _entry;
    private int _released;

    internal BlockLease(BlockStore store, BlockEntry entry)
    {
        _store = store;
        _entry = entry;
    }

    internal BlockEntry Entry => _entry;

    /// <summary>Key of the block.</summary>
    public BlockKey Key => _entry.Key;

    /// <summary>Id of the write that produced these bytes.</summary>
    public ulong Generation => _entry.Generation;

    /// <summary>Shape of the block.</summary>
    public KvLayout Layout => _entry.Layout;

    /// <summary>CRC-32 of every layer, computed when the bytes arrived.</summary>
    public ReadOnlySpan<uint> Checksums => _entry.Checksums;

    /// <summary>Where the block stands in its prefix.</summary>
    public BlockLineage Lineage => _entry.Lineage;

    /// <summary>What its writer asked for beyond memory.</summary>
    public BlockDurability Durability => _entry.Durability;

    /// <summary>End of its life on the wall clock of now, or null for as long as memory lasts.</summary>
    public DateTimeOffset? ExpiresAt => _store.EndOf(_entry);

    /// <summary>Start of the block inside the arena, in bytes.</summary>
    public long Offset => _entry.Offset;

    /// <summary>Memory that the lease keeps from reuse, including the rounding of sizes.</summary>
    public long ArenaBytes => _entry.ArenaBytes;

    /// <summary>The bytes of the block.</summary>
    /// <exception cref="ObjectDisposedException">The lease was released.</exception>
    public ReadOnlySpan<byte> Bytes
    {
        get
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _released) != 0, this);
            return _store.Arena.Span(_entry.Offset, _entry.Length);
        }
    }

    /// <summary>The bytes of a run of layers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public ReadOnlySpan<byte> Layers(LayerRange range) => Bytes.Slice(Layout.LayerOffset(range.First), Layout.RangeBytes(range));

    /// <summary>First layer of a run whose bytes are no longer those that were stored, or null when all are intact.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public int? FindDamage(LayerRange range)
    {
        for (var layer = range.First; layer < range.End; layer++)
        {
            if (BlockChecksum.Compute(Layers(new LayerRange(layer, 1))) != Checksums[layer])
                return layer;
        }

        return null;
    }

    /// <summary>Releases the block.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
            _store.Release(_entry);
    }
}
