using KvCache.Checksums;
using KvCache.Client.SharedMemory;
using KvCache.Engine.Storage;

namespace KvCache.Client;

/// <summary>A block in the mapped arena of a silo of this machine, kept there by a lease of this process.</summary>
/// <remarks>The bytes are valid until the object that gave it is disposed.</remarks>
public sealed class LeasedBlock
{
    private readonly uint[] _checksums;

    internal LeasedBlock(SharedArena arena, KvLayout layout, ulong generation, long offset, uint[] checksums, LeaseGroup group)
    {
        Arena = arena;
        Layout = layout;
        Generation = generation;
        Offset = offset;
        _checksums = checksums;
        Group = group;
    }

    /// <summary>Shape of the block.</summary>
    public KvLayout Layout { get; }

    /// <summary>The write that produced the bytes.</summary>
    public ulong Generation { get; }

    /// <summary>Start of the block inside the arena, in bytes.</summary>
    public long Offset { get; }

    /// <summary>The bytes of the block, in the silo's memory. They are not verified.</summary>
    public ReadOnlySpan<byte> Bytes => Arena.Read(Offset, Layout.BlockBytes);

    internal SharedArena Arena { get; }

    internal LeaseGroup Group { get; }

    /// <summary>The bytes of a run of layers. They are not verified.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public ReadOnlySpan<byte> Layers(LayerRange range) => Bytes.Slice(Layout.LayerOffset(range.First), Layout.RangeBytes(range));

    /// <summary>Whether the bytes of a run of layers are those that were stored.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public bool IsIntact(LayerRange range)
    {
        for (var layer = range.First; layer < range.End; layer++)
        {
            if (BlockChecksum.Compute(Layers(new LayerRange(layer, 1))) != _checksums[layer])
                return false;
        }

        return true;
    }

    /// <summary>Copies a run of layers.</summary>
    /// <param name="range">Layers to copy.</param>
    /// <param name="destination">Memory of exactly the run's size.</param>
    /// <param name="verify">Whether the copy is compared with the checksums, layer by layer, while it is in the processor's cache.</param>
    /// <returns>False when a layer is damaged.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public bool CopyTo(LayerRange range, Span<byte> destination, bool verify)
    {
        if (!verify)
        {
            Layers(range).CopyTo(destination);
            return true;
        }

        for (var layer = range.First; layer < range.End; layer++)
        {
            var bytes = Layers(new LayerRange(layer, 1));
            var copy = destination[..bytes.Length];
            bytes.CopyTo(copy);
            if (BlockChecksum.Compute(copy) != _checksums[layer])
                return false;
            destination = destination[bytes.Length..];
        }

        return true;
    }
}

/// <summary>Blocks that were leased together and are released together. Guarded by the lock of its <see cref="SiloMemory"/>.</summary>
internal sealed class LeaseGroup(ulong id)
{
    public ulong Id => id;

    public int Users { get; set; }
}
