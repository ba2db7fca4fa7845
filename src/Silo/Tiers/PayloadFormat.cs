using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KvCache.Silo;

/// <summary>What a payload says about itself.</summary>
/// <param name="Key">The block.</param>
/// <param name="Generation">The write that produced the bytes.</param>
/// <param name="ExpiresAt">End of its life in Unix milliseconds; 0 when the block has none.</param>
/// <param name="Layers">Layers of the block.</param>
/// <param name="BlockBytes">Bytes of the block.</param>
/// <param name="Parent">Block before it, or zero.</param>
/// <param name="Depth">Index in its chain.</param>
internal readonly record struct PayloadHeader(BlockKey Key, ulong Generation, long ExpiresAt, int Layers, int BlockBytes, BlockHash Parent, int Depth);

/// <summary>
/// Layout of a payload in Redis: a header, the CRC-32 of every layer, the CRC-32 of all that, and the bytes of the block.
/// Numbers are little-endian. The header names the block, so that a value under a foreign key is noticed.
/// </summary>
internal static class PayloadFormat
{
    /// <summary>Bytes before the checksums of the layers.</summary>
    public const int FixedBytes = 116;

    /// <summary>Longest string that Redis takes (its <c>proto-max-bulk-len</c>).</summary>
    public const long MaxValueBytes = 512L << 20;

    private const uint Magic = 0x4C42564B; // "KVBL"
    private const uint Version = 1;

    /// <summary>Bytes before the block.</summary>
    public static int HeadBytes(int layers) => FixedBytes + ((layers + 1) * sizeof(uint));

    /// <summary>Writes everything that comes before the block.</summary>
    /// <param name="head"><see cref="HeadBytes"/> bytes.</param>
    /// <param name="header">What to say.</param>
    /// <param name="checksums">CRC-32 of every layer.</param>
    public static void Write(Span<byte> head, in PayloadHeader header, ReadOnlySpan<uint> checksums)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(head, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(head[4..], Version);
        header.Key.Namespace.CopyTo(head[8..]);
        header.Key.Hash.CopyTo(head[24..]);
        BinaryPrimitives.WriteUInt64LittleEndian(head[56..], header.Generation);
        BinaryPrimitives.WriteInt64LittleEndian(head[64..], header.ExpiresAt);
        BinaryPrimitives.WriteInt32LittleEndian(head[72..], header.Layers);
        BinaryPrimitives.WriteInt32LittleEndian(head[76..], header.BlockBytes);
        header.Parent.CopyTo(head[80..]);
        BinaryPrimitives.WriteInt32LittleEndian(head[112..], header.Depth);
        MemoryMarshal.AsBytes(checksums).CopyTo(head[FixedBytes..]);
        var end = head.Length - sizeof(uint);
        BinaryPrimitives.WriteUInt32LittleEndian(head[end..], BlockChecksum.Compute(head[..end]));
    }

    /// <summary>Looks for the marks of the format, and for the number of layers, which says how long the head is.</summary>
    /// <param name="fixedPart">The first <see cref="FixedBytes"/> bytes. Nothing has vouched for them yet.</param>
    /// <param name="layers">Number of layers, within bounds.</param>
    public static bool TryReadLayers(ReadOnlySpan<byte> fixedPart, out int layers)
    {
        layers = BinaryPrimitives.ReadInt32LittleEndian(fixedPart[72..]);
        return BinaryPrimitives.ReadUInt32LittleEndian(fixedPart) == Magic
            && BinaryPrimitives.ReadUInt32LittleEndian(fixedPart[4..]) == Version
            && layers is > 0 and <= KvLayout.MaxLayers;
    }

    /// <summary>Reads a head, if its checksum is right.</summary>
    public static bool TryRead(ReadOnlySpan<byte> head, out PayloadHeader header)
    {
        header = default;
        var end = head.Length - sizeof(uint);
        if (BinaryPrimitives.ReadUInt32LittleEndian(head[end..]) != BlockChecksum.Compute(head[..end]))
            return false;
        header = new PayloadHeader(
            new BlockKey(NamespaceId.Read(head[8..]), new BlockHash(head[24..])),
            BinaryPrimitives.ReadUInt64LittleEndian(head[56..]),
            BinaryPrimitives.ReadInt64LittleEndian(head[64..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[72..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[76..]),
            new BlockHash(head[80..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[112..]));
        return true;
    }

    /// <summary>The checksums of the layers inside a head.</summary>
    public static ReadOnlySpan<uint> Checksums(ReadOnlySpan<byte> head) => MemoryMarshal.Cast<byte, uint>(head[FixedBytes..^sizeof(uint)]);
}
