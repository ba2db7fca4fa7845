using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using KvCache.Encodings;

namespace KvCache;

/// <summary>Encodes all layers of a block into one run of bytes from which any layers can be decoded without touching the others.</summary>
/// <remarks>
/// The bytes are a header with a checksummed layer table, then every layer as an encoded tensor of <see cref="TensorSerializer"/> with its
/// own checksum; see docs/serialization.md. A layer has shape <c>[part, token, head, dim]</c>; of an opaque layout, <c>[bytes]</c>. What
/// <see cref="TensorSerializer"/> says about corrupt and forged input is true here, too.
/// </remarks>
public static class BatchTensorSerializer
{
    /// <summary>Most bytes that a block takes encoded; exactly that many when it is not compressed.</summary>
    /// <param name="layout">Layout of the block.</param>
    /// <param name="encoding">How it is to be encoded.</param>
    /// <exception cref="ArgumentException">The encoding does not take elements of this type.</exception>
    public static int MaxEncodedBytes(KvLayout layout, TensorEncoding encoding = default)
    {
        ArgumentNullException.ThrowIfNull(layout);
        var bytes = BatchHeader.BytesFor(layout.Layers);
        for (var layer = 0; layer < layout.Layers; layer++)
            bytes += TensorSerializer.MaxEncodedBytes(layout.DataType, LayerShape(layout, layer), encoding);
        return bytes;
    }

    /// <summary>Encodes a block into memory of the caller.</summary>
    /// <param name="block">The block, <c>[layer][part][token][head][dim]</c>, of <see cref="KvLayout.BlockBytes"/>.</param>
    /// <param name="layout">Layout of the block.</param>
    /// <param name="destination">Receives the encoded block, at least <see cref="MaxEncodedBytes"/> long; does not overlap <paramref
    /// name="block"/>.</param>
    /// <param name="encoding">Element encoding and compression of every layer; as is unless given.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Block and layout disagree, the destination is too short, or the encoding does not take such
    /// elements.</exception>
    public static int Encode(ReadOnlySpan<byte> block, KvLayout layout, Span<byte> destination, TensorEncoding encoding = default)
    {
        var most = MaxEncodedBytes(layout, encoding);
        if (block.Length != layout.BlockBytes)
            throw new ArgumentException($"A block of layout {layout} has {layout.BlockBytes} bytes, got {block.Length}.", nameof(block));
        if (destination.Length < most)
            throw new ArgumentException(
                $"The destination holds {destination.Length} bytes; this block may take {most} (MaxEncodedBytes).", nameof(destination));

        var head = destination[..BatchHeader.BytesFor(layout.Layers)];
        var end = head.Length;
        for (var layer = 0; layer < layout.Layers; layer++)
        {
            var tensor = block.Slice(layout.LayerOffset(layer), layout.LayerBytes(layer));
            var bytes = TensorSerializer.Encode(tensor, layout.DataType, LayerShape(layout, layer), destination[end..], encoding);
            BatchHeader.WriteEntry(head, layer, end, destination.Slice(end, bytes), tensor.Length);
            end += bytes;
        }

        BatchHeader.Write(head, layout, end);
        return end;
    }

    /// <summary>Encodes a block at the end of a buffer.</summary>
    /// <param name="block">The block, <c>[layer][part][token][head][dim]</c>, of <see cref="KvLayout.BlockBytes"/>.</param>
    /// <param name="layout">Layout of the block.</param>
    /// <param name="output">Receives the encoded block; asked for <see cref="MaxEncodedBytes"/> at once.</param>
    /// <param name="encoding">Element encoding and compression of every layer; as is unless given.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Block and layout disagree, or the encoding does not take such elements.</exception>
    public static int Encode(ReadOnlySpan<byte> block, KvLayout layout, IBufferWriter<byte> output, TensorEncoding encoding = default)
    {
        ArgumentNullException.ThrowIfNull(output);
        var written = Encode(block, layout, output.GetSpan(MaxEncodedBytes(layout, encoding)), encoding);
        output.Advance(written);
        return written;
    }

    /// <summary>Reads the layout of an encoded block.</summary>
    /// <param name="encoded">The encoded block, exactly.</param>
    /// <exception cref="KvFormatException">The header or the layer table is malformed or corrupt. The layers are not looked at.</exception>
    public static KvLayout ReadLayout(ReadOnlySpan<byte> encoded)
    {
        var reason = BatchHeader.Read(encoded, out var header);
        KvLayout? layout = null;
        reason ??= header.ReadLayout(out layout);
        return reason is null ? layout! : throw new KvFormatException(reason);
    }

    /// <summary>Decodes a run of layers into memory of the caller.</summary>
    /// <param name="encoded">The encoded block, exactly.</param>
    /// <param name="layout">The layout that the block must have.</param>
    /// <param name="layers">The layers to decode; the others are not read.</param>
    /// <param name="destination">Receives <see cref="KvLayout.RangeBytes"/> in the order of the block; does not overlap <paramref
    /// name="encoded"/>. Undefined after a failure.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="KvFormatException">The bytes are malformed or corrupt, or are a block of another layout.</exception>
    /// <exception cref="ArgumentException">The layers are outside the layout, or the destination is too short for them.</exception>
    public static int Decode(ReadOnlySpan<byte> encoded, KvLayout layout, LayerRange layers, Span<byte> destination) =>
        TryDecode(encoded, layout, layers, destination, out var written, out var reason) ? written : throw new KvFormatException(reason);

    /// <summary>Decodes a run of layers into memory of the caller, without an exception for bad input.</summary>
    /// <param name="encoded">The encoded block, exactly.</param>
    /// <param name="layout">The layout that the block must have.</param>
    /// <param name="layers">The layers to decode; the others are not read.</param>
    /// <param name="destination">Receives <see cref="KvLayout.RangeBytes"/> in the order of the block; does not overlap <paramref
    /// name="encoded"/>. Undefined after a failure.</param>
    /// <param name="written">Bytes written; 0 after a failure.</param>
    /// <param name="reason">What is wrong with the input, when the answer is false.</param>
    /// <returns>Whether the layers were decoded.</returns>
    /// <exception cref="ArgumentException">The layers are outside the layout, or the destination is too short for them.</exception>
    public static bool TryDecode(
        ReadOnlySpan<byte> encoded, KvLayout layout, LayerRange layers, Span<byte> destination, out int written,
            [NotNullWhen(false)] out string? reason)
    {
        ArgumentNullException.ThrowIfNull(layout);
        if (!layout.Contains(layers))
            throw new ArgumentException($"Layers {layers} are not in a block of {layout.Layers} layers, or are none.", nameof(layers));
        if (destination.Length < layout.RangeBytes(layers))
            throw new ArgumentException(
                $"Layers {layers} take {layout.RangeBytes(layers)} bytes; the destination holds {destination.Length}.",
                nameof(destination));

        written = 0;
        reason = BatchHeader.Read(encoded, out var header);
        if (reason is null && !header.Describes(layout))
            reason = $"The encoded block has another layout than the one expected, {layout}.";
        if (reason is not null)
            return false;

        for (var layer = layers.First; layer < layers.End; layer++)
        {
            var tensor = destination.Slice(layout.OffsetIn(layers, layer), layout.LayerBytes(layer));
            reason = DecodeLayer(encoded, header, layout, layer, tensor);
            if (reason is not null)
                return false;
        }

        written = layout.RangeBytes(layers);
        return true;
    }

    private static string? DecodeLayer(ReadOnlySpan<byte> encoded, BatchHeader header, KvLayout layout, int layer, Span<byte> tensor)
    {
        var entry = header.Entry(layer);
        var bytes = encoded.Slice(entry.Offset, entry.Bytes);
        var reason = TensorSerializer.Verify(bytes, tensor.Length, out var found);
        if (reason is null
            && (found.DataType != layout.DataType || found.Shape != LayerShape(layout, layer) || found.Checksum != entry.Checksum))
            reason = $"found a tensor of shape {found.Shape}, type {found.DataType} and CRC-32 {found.Checksum:X8}; the block says "
                + $"{LayerShape(layout, layer)}, {layout.DataType}, {entry.Checksum:X8}.";
        reason ??= TensorSerializer.ReadPayload(bytes, found, tensor);
        return reason is null ? null : $"Layer {layer}: {reason}";
    }

    private static TensorShape LayerShape(KvLayout layout, int layer) => layout.IsOpaque
        ? new TensorShape(layout.LayerBytes(layer))
        : new TensorShape(layout.Parts, layout.TokensPerBlock, layout.KvHeads, layout.HeadDim);
}
