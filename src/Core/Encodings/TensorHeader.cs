using System.Buffers.Binary;
using KvCache.Checksums;
using KvCache.Encodings.Planes;

namespace KvCache;

/// <summary>What an encoded tensor says about itself. The layout of the bytes is in docs/serialization.md.</summary>
/// <param name="DataType">Type of the elements before encoding and after decoding.</param>
/// <param name="StoredType">Type of the stored elements.</param>
/// <param name="Compression">Compression of the stored elements.</param>
/// <param name="Shape">Shape of the tensor.</param>
/// <param name="StoredBytes">Bytes of the payload that follows the header.</param>
/// <param name="Checksum">CRC-32 (IEEE 802.3) of header and payload without this field.</param>
public readonly record struct TensorHeader(
    KvDataType DataType,
    KvDataType StoredType,
    TensorCompression Compression,
    TensorShape Shape,
    int StoredBytes,
    uint Checksum)
{
    internal const int ChecksumOffset = 12;
    internal const int ChecksumEnd = 16;
    internal const int FixedBytes = 24;
    internal const int MaxBytes = FixedBytes + (TensorShape.MaxRank * sizeof(int));
    internal const byte Version = 1;

    internal static ReadOnlySpan<byte> Magic => "KVTN"u8;

    /// <summary>Bytes of the decoded tensor.</summary>
    public int OriginalBytes => Shape.Elements * DataType.Size();

    /// <summary>Bytes of the header: 24 and 4 for every dimension.</summary>
    public int HeaderBytes => BytesFor(Shape.Rank);

    /// <summary>Bytes of the stored elements before compression.</summary>
    internal int NarrowBytes => Shape.Elements * StoredType.Size();

    internal static int BytesFor(int rank) => FixedBytes + (rank * sizeof(int));

    /// <summary>Writes the header, checksum included, in front of a payload that lies in its place already.</summary>
    /// <param name="encoded">Header and payload, exactly.</param>
    /// <param name="header">The header; its <see cref="Checksum"/> is ignored, it is computed here.</param>
    internal static void Write(Span<byte> encoded, in TensorHeader header)
    {
        Magic.CopyTo(encoded);
        encoded[4] = Version;
        encoded[5] = (byte)header.DataType;
        encoded[6] = (byte)header.StoredType;
        encoded[7] = (byte)header.Compression;
        encoded[8] = (byte)header.Shape.Rank;
        encoded[9..ChecksumOffset].Clear();
        BinaryPrimitives.WriteInt32LittleEndian(encoded[16..], header.OriginalBytes);
        BinaryPrimitives.WriteInt32LittleEndian(encoded[20..], header.StoredBytes);
        for (var i = 0; i < header.Shape.Rank; i++)
            BinaryPrimitives.WriteInt32LittleEndian(encoded[(FixedBytes + (i * sizeof(int)))..], header.Shape[i]);
        BinaryPrimitives.WriteUInt32LittleEndian(encoded[ChecksumOffset..], Crc(encoded));
    }

    /// <summary>CRC-32 of everything but the field that holds it.</summary>
    internal static uint Crc(ReadOnlySpan<byte> encoded) =>
        BlockChecksum.Append(BlockChecksum.Compute(encoded[..ChecksumOffset]), encoded[ChecksumEnd..]);

    /// <summary>Reads a header and checks that its fields agree with each other; the payload need not be there yet.</summary>
    /// <returns>Null, or what is wrong.</returns>
    internal static string? Read(ReadOnlySpan<byte> encoded, out TensorHeader header)
    {
        header = default;
        if (encoded.Length < FixedBytes)
            return $"An encoded tensor starts with a header of at least {FixedBytes} bytes, got {encoded.Length}.";
        if (!encoded.StartsWith(Magic))
            return $"An encoded tensor starts with \"KVTN\" (4B-56-54-4E), got {BitConverter.ToString(encoded[..4].ToArray())}.";
        if (encoded[4] != Version)
            return $"Encoded tensor of version {encoded[4]}; this library reads version {Version}.";
        var (type, stored, compression) = ((KvDataType)encoded[5], (KvDataType)encoded[6], (TensorCompression)encoded[7]);
        if (!Enum.IsDefined(type) || !Enum.IsDefined(stored) || !TensorEncoding.CanStore(type, stored))
            return $"Data type {encoded[5]} stored as {encoded[6]} is not a pair that this library reads.";
        if (!Enum.IsDefined(compression))
            return $"Compression {encoded[7]} is unknown; expected 0 (none), 1 (gzip), 2 (zstd) or 3 (float planes).";
        if (compression == TensorCompression.FloatPlanes && !FloatPlaneCodec.Takes(stored))
            return $"Compression 3 (float planes) with elements stored as {stored}; it takes 16-bit floats.";
        int rank = encoded[8];
        if (rank > TensorShape.MaxRank)
            return $"A tensor of {rank} dimensions; expected at most {TensorShape.MaxRank}.";
        if (encoded[9..ChecksumOffset].ContainsAnyExcept((byte)0))
            return "The reserved bytes 9 to 11 are not zero.";
        if (encoded.Length < BytesFor(rank))
            return $"The header of a tensor of {rank} dimensions takes {BytesFor(rank)} bytes, got {encoded.Length}.";

        Span<int> dimensions = stackalloc int[rank];
        for (var i = 0; i < rank; i++)
            dimensions[i] = BinaryPrimitives.ReadInt32LittleEndian(encoded[(FixedBytes + (i * sizeof(int)))..]);
        if (!TensorShape.TryCreate(dimensions, out var shape, out var reason))
            return reason;

        var originalBytes = BinaryPrimitives.ReadInt32LittleEndian(encoded[16..]);
        if (originalBytes != (long)shape.Elements * type.Size() || originalBytes > KvLayout.MaxBlockBytes)
            return $"The header says {originalBytes} bytes for a tensor of shape {shape} and type {type}, which takes "
                + $"{(long)shape.Elements * type.Size()} of at most {KvLayout.MaxBlockBytes}.";

        header = new TensorHeader(type, stored, compression, shape,
            BinaryPrimitives.ReadInt32LittleEndian(encoded[20..]), BinaryPrimitives.ReadUInt32LittleEndian(encoded[ChecksumOffset..]));

        // The encoder stores uncompressed what would not shrink, so no valid payload is larger than its elements.
        var storedBytesValid = compression == TensorCompression.None
            ? header.StoredBytes == header.NarrowBytes
            : header.StoredBytes > 0 && header.StoredBytes < header.NarrowBytes;
        return storedBytesValid
            ? null
            : $"A payload of {header.StoredBytes} bytes with compression {compression}; the elements take {header.NarrowBytes}: expected "
                + $"{(compression == TensorCompression.None ? "as many" : "fewer, and more than 0")}.";
    }
}
