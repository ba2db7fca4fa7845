using System.Buffers.Binary;
using KvCache.Checksums;

namespace KvCache.Encodings;

/// <summary>Header and layer table of an encoded block. The layout of the bytes is in docs/serialization.md.</summary>
internal readonly ref struct BatchHeader
{
    public const int FixedBytes = 32;
    public const int EntryBytes = 16;
    public const byte Version = 1;

    private const int ChecksumOffset = 8;
    private const int ChecksumEnd = 12;

    private readonly ReadOnlySpan<byte> _bytes;

    private BatchHeader(ReadOnlySpan<byte> bytes, int layers)
    {
        _bytes = bytes;
        Layers = layers;
    }

    public static ReadOnlySpan<byte> Magic => "KVTB"u8;

    public int Layers { get; }

    /// <summary>Bytes of the header and its table.</summary>
    public static int BytesFor(int layers) => FixedBytes + (layers * EntryBytes);

    /// <summary>Writes everything but the entries, which <see cref="WriteEntry"/> has written before, and the checksum over both.</summary>
    public static void Write(Span<byte> head, KvLayout layout, int totalBytes)
    {
        Magic.CopyTo(head);
        head[4] = Version;
        head[5] = (byte)layout.DataType;
        head[6] = (byte)layout.Parts;
        head[7] = 0;
        BinaryPrimitives.WriteInt32LittleEndian(head[12..], layout.Layers);
        BinaryPrimitives.WriteInt32LittleEndian(head[16..], layout.KvHeads);
        BinaryPrimitives.WriteInt32LittleEndian(head[20..], layout.HeadDim);
        BinaryPrimitives.WriteInt32LittleEndian(head[24..], layout.TokensPerBlock);
        BinaryPrimitives.WriteInt32LittleEndian(head[28..], totalBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(head[ChecksumOffset..], Crc(head));
    }

    /// <summary>Writes one entry of the table.</summary>
    /// <param name="head">Header and table.</param>
    /// <param name="layer">Index of the layer.</param>
    /// <param name="offset">Start of the layer's encoded tensor in the whole buffer.</param>
    /// <param name="encoded">The layer's encoded tensor.</param>
    /// <param name="originalBytes">Bytes of the decoded layer.</param>
    public static void WriteEntry(Span<byte> head, int layer, int offset, ReadOnlySpan<byte> encoded, int originalBytes)
    {
        var entry = head.Slice(BytesFor(layer), EntryBytes);
        BinaryPrimitives.WriteInt32LittleEndian(entry, offset);
        BinaryPrimitives.WriteInt32LittleEndian(entry[4..], encoded.Length);
        BinaryPrimitives.WriteInt32LittleEndian(entry[8..], originalBytes);
        // The tensor's own checksum again: it ties the table to its layers, so that swapped layers are found.
        encoded[TensorHeader.ChecksumOffset..TensorHeader.ChecksumEnd].CopyTo(entry[12..]);
    }

    /// <summary>Reads and checks header and table.</summary>
    /// <returns>Null, or what is wrong.</returns>
    public static string? Read(ReadOnlySpan<byte> encoded, out BatchHeader header)
    {
        header = default;
        if (encoded.Length < FixedBytes)
            return $"An encoded block starts with a header of {FixedBytes} bytes, got {encoded.Length}.";
        if (!encoded.StartsWith(Magic))
            return $"An encoded block starts with \"KVTB\" (4B-56-54-42), got {BitConverter.ToString(encoded[..4].ToArray())}.";
        if (encoded[4] != Version)
            return $"Encoded block of version {encoded[4]}; this library reads version {Version}.";
        var layers = BinaryPrimitives.ReadInt32LittleEndian(encoded[12..]);
        if (layers is < 1 or > KvLayout.MaxLayers)
            return $"An encoded block of {layers} layers; expected 1 to {KvLayout.MaxLayers}.";
        if (encoded.Length < BytesFor(layers))
            return $"The header of an encoded block of {layers} layers takes {BytesFor(layers)} bytes, got {encoded.Length}.";
        var head = encoded[..BytesFor(layers)];
        var (crc, expected) = (Crc(head), BinaryPrimitives.ReadUInt32LittleEndian(head[ChecksumOffset..]));
        if (crc != expected)
            return $"The CRC-32 of the block's header is {crc:X8}; it says {expected:X8}.";
        var totalBytes = BinaryPrimitives.ReadInt32LittleEndian(head[28..]);
        if (totalBytes != encoded.Length)
            return $"The encoded block takes {totalBytes} bytes, got {encoded.Length}.";
        if (head[7] != 0)
            return "The reserved byte 7 is not zero.";
        header = new BatchHeader(head, layers);
        return header.CheckTable(totalBytes);
    }

    public (int Offset, int Bytes, int OriginalBytes, uint Checksum) Entry(int layer)
    {
        var entry = _bytes.Slice(BytesFor(layer), EntryBytes);
        return (BinaryPrimitives.ReadInt32LittleEndian(entry), BinaryPrimitives.ReadInt32LittleEndian(entry[4..]),
            BinaryPrimitives.ReadInt32LittleEndian(entry[8..]), BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]));
    }

    /// <summary>Whether header and table describe a block of this layout.</summary>
    public bool Describes(KvLayout layout)
    {
        if (_bytes[5] != (byte)layout.DataType || _bytes[6] != layout.Parts || Layers != layout.Layers
            || Field(16) != layout.KvHeads || Field(20) != layout.HeadDim || Field(24) != layout.TokensPerBlock)
            return false;
        for (var layer = 0; layer < Layers; layer++)
        {
            if (Entry(layer).OriginalBytes != layout.LayerBytes(layer))
                return false;
        }

        return true;
    }

    /// <summary>The layout that the header describes.</summary>
    /// <returns>Null, or what is wrong.</returns>
    public string? ReadLayout(out KvLayout? layout)
    {
        layout = null;
        try
        {
            layout = _bytes[6] == 0
                ? ReadOpaque()
                : KvLayout.Create(Layers, Field(16), Field(20), (KvDataType)_bytes[5], Field(24), _bytes[6]);
        }
        catch (ArgumentException e)
        {
            // The constructors of KvLayout know what a valid layout is; here their arguments are input.
            return $"The header describes no valid layout: {e.Message}";
        }

        return Describes(layout) ? null : $"The layer table does not fit the header's layout, {layout}.";
    }

    private static uint Crc(ReadOnlySpan<byte> head) =>
        BlockChecksum.Append(BlockChecksum.Compute(head[..ChecksumOffset]), head[ChecksumEnd..]);

    private int Field(int offset) => BinaryPrimitives.ReadInt32LittleEndian(_bytes[offset..]);

    private KvLayout ReadOpaque()
    {
        var offsets = new int[Layers + 1];
        for (var layer = 0; layer < Layers; layer++)
            offsets[layer + 1] = unchecked(offsets[layer] + Entry(layer).OriginalBytes); // an overflow is negative, so not ascending
        return KvLayout.Opaque(offsets, Field(24));
    }

    /// <summary>The layers follow the table and each other without gaps, to the end.</summary>
    private string? CheckTable(int totalBytes)
    {
        var end = BytesFor(Layers);
        for (var layer = 0; layer < Layers; layer++)
        {
            var (offset, bytes, _, _) = Entry(layer);
            if (offset != end || bytes < TensorHeader.FixedBytes || bytes > totalBytes - offset)
                return $"Layer {layer} lies at {offset} and takes {bytes} bytes; expected it at {end}, at least {TensorHeader.FixedBytes} "
                    + $"bytes, ending within {totalBytes}.";
            end = offset + bytes;
        }

        return end == totalBytes ? null : $"The layers end at {end}; the encoded block takes {totalBytes} bytes.";
    }
}
