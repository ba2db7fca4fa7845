using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using KvCache.Encodings;

namespace KvCache;

/// <summary>Encodes one tensor into a self-describing, checksummed run of bytes and back.</summary>
/// <remarks>
/// <para>The byte format is in docs/serialization.md. Elements are little-endian. Decoding gives the original data type back;
/// with <see cref="ElementEncoding.Raw"/> also the original bytes.</para>
/// <para>The checksum is verified before anything is decompressed or written: corrupt bytes never reach the caller's memory. CRC-32 finds
/// accidents, not forgeries; a forged input can decode to wrong elements, but reads no memory outside of it and writes no more than the
/// caller allows.</para>
/// </remarks>
public static class TensorSerializer
{
    /// <summary>Largest tensor that is decoded into new memory unless the caller allows more: 64 MiB.</summary>
    public const int DefaultMaxDecodedBytes = 64 << 20;

    /// <summary>Most bytes that a tensor takes encoded; exactly that many when it is not compressed.</summary>
    /// <param name="dataType">Type of the elements.</param>
    /// <param name="shape">Shape of the tensor.</param>
    /// <param name="encoding">How it is to be encoded.</param>
    /// <exception cref="ArgumentException">The encoding does not take such elements, or the tensor is larger than <see
    /// cref="KvLayout.MaxBlockBytes"/>.</exception>
    public static int MaxEncodedBytes(KvDataType dataType, TensorShape shape, TensorEncoding encoding = default)
    {
        CheckSize(dataType, shape);
        return TensorHeader.BytesFor(shape.Rank) + (shape.Elements * encoding.StoredType(dataType).Size());
    }

    /// <summary>Encodes a tensor into memory of the caller.</summary>
    /// <param name="tensor">The elements, row-major and little-endian.</param>
    /// <param name="dataType">Type of the elements.</param>
    /// <param name="shape">Shape; its elements times their size is the length of <paramref name="tensor"/>.</param>
    /// <param name="destination">Receives the encoded tensor, at least <see cref="MaxEncodedBytes"/> long; does not overlap <paramref
    /// name="tensor"/>.</param>
    /// <param name="encoding">Element encoding and compression; as is unless given.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Length and shape disagree, the destination is too short, or the encoding does not take such
    /// elements.</exception>
    public static int Encode(
        ReadOnlySpan<byte> tensor, KvDataType dataType, TensorShape shape, Span<byte> destination, TensorEncoding encoding = default)
    {
        var most = MaxEncodedBytes(dataType, shape, encoding);
        var level = encoding.CheckedLevel();
        if (tensor.Length != shape.Elements * dataType.Size())
            throw new ArgumentException(
                $"A tensor of shape {shape} and type {dataType} has {shape.Elements * dataType.Size()} bytes, got {tensor.Length}.",
                nameof(tensor));
        if (destination.Length < most)
            throw new ArgumentException(
                $"The destination holds {destination.Length} bytes; this tensor may take {most} (MaxEncodedBytes).", nameof(destination));

        var storedType = encoding.StoredType(dataType);
        var payload = destination[TensorHeader.BytesFor(shape.Rank)..most];
        var (storedBytes, compression) = storedType == dataType
            ? WritePayload(tensor, payload, storedType, shape, encoding.Compression, level)
            : WriteNarrowed(tensor, payload, storedType, shape, encoding.Compression, level);
        var written = TensorHeader.BytesFor(shape.Rank) + storedBytes;
        TensorHeader.Write(destination[..written], new TensorHeader(dataType, storedType, compression, shape, storedBytes, 0));
        return written;
    }

    /// <summary>Encodes a tensor at the end of a buffer.</summary>
    /// <param name="tensor">The elements, row-major and little-endian.</param>
    /// <param name="dataType">Type of the elements.</param>
    /// <param name="shape">Shape; its elements times their size is the length of <paramref name="tensor"/>.</param>
    /// <param name="output">Receives the encoded tensor; asked for <see cref="MaxEncodedBytes"/> at once.</param>
    /// <param name="encoding">Element encoding and compression; as is unless given.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Length and shape disagree, or the encoding does not take such elements.</exception>
    public static int Encode(
        ReadOnlySpan<byte> tensor, KvDataType dataType, TensorShape shape, IBufferWriter<byte> output, TensorEncoding encoding = default)
    {
        ArgumentNullException.ThrowIfNull(output);
        var written = Encode(tensor, dataType, shape, output.GetSpan(MaxEncodedBytes(dataType, shape, encoding)), encoding);
        output.Advance(written);
        return written;
    }

    /// <summary>Encodes a tensor into new memory.</summary>
    /// <param name="tensor">The elements, row-major and little-endian.</param>
    /// <param name="dataType">Type of the elements.</param>
    /// <param name="shape">Shape; its elements times their size is the length of <paramref name="tensor"/>.</param>
    /// <param name="encoding">Element encoding and compression; as is unless given.</param>
    /// <exception cref="ArgumentException">Length and shape disagree, or the encoding does not take such elements.</exception>
    public static byte[] Encode(ReadOnlySpan<byte> tensor, KvDataType dataType, TensorShape shape, TensorEncoding encoding = default)
    {
        var encoded = GC.AllocateUninitializedArray<byte>(MaxEncodedBytes(dataType, shape, encoding));
        var written = Encode(tensor, dataType, shape, encoded, encoding);
        return written == encoded.Length ? encoded : encoded[..written];
    }

    /// <summary>Reads what an encoded tensor says about itself. The checksum is not verified: the payload need not be there.</summary>
    /// <param name="encoded">At least the header of an encoded tensor, 56 bytes at most.</param>
    /// <exception cref="KvFormatException">The bytes are not a header of this format.</exception>
    public static TensorHeader ReadHeader(ReadOnlySpan<byte> encoded) =>
        TensorHeader.Read(encoded, out var header) is { } reason ? throw new KvFormatException(reason) : header;

    /// <summary>Decodes a tensor into memory of the caller, whose length bounds what is decoded.</summary>
    /// <param name="encoded">The encoded tensor, exactly.</param>
    /// <param name="destination">Receives the elements in their original type; does not overlap <paramref name="encoded"/>. Undefined after
    /// a failure.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="KvFormatException">The bytes are malformed or corrupt, or decode to more than <paramref name="destination"/>
    /// holds.</exception>
    public static int Decode(ReadOnlySpan<byte> encoded, Span<byte> destination) =>
        TryDecode(encoded, destination, out var written, out var reason) ? written : throw new KvFormatException(reason);

    /// <summary>Decodes a tensor into new memory.</summary>
    /// <param name="encoded">The encoded tensor, exactly.</param>
    /// <param name="header">Type and shape of the tensor.</param>
    /// <param name="maxDecodedBytes">Largest tensor to accept; nothing is allocated for a larger one.</param>
    /// <returns>The elements in their original type.</returns>
    /// <exception cref="KvFormatException">The bytes are malformed or corrupt, or decode to more than <paramref
    /// name="maxDecodedBytes"/>.</exception>
    public static byte[] Decode(ReadOnlySpan<byte> encoded, out TensorHeader header, int maxDecodedBytes = DefaultMaxDecodedBytes)
    {
        Check(encoded, maxDecodedBytes, out header);
        var tensor = GC.AllocateUninitializedArray<byte>(header.OriginalBytes);
        ThrowIf(ReadPayload(encoded, header, tensor));
        return tensor;
    }

    /// <summary>Decodes a tensor at the end of a buffer.</summary>
    /// <param name="encoded">The encoded tensor, exactly.</param>
    /// <param name="output">Receives the elements in their original type; asked for all of them at once, after the checksum was found
    /// right. Unchanged by a failure.</param>
    /// <param name="maxDecodedBytes">Largest tensor to accept.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="KvFormatException">The bytes are malformed or corrupt, or decode to more than <paramref
    /// name="maxDecodedBytes"/>.</exception>
    public static int Decode(ReadOnlySpan<byte> encoded, IBufferWriter<byte> output, int maxDecodedBytes = DefaultMaxDecodedBytes)
    {
        ArgumentNullException.ThrowIfNull(output);
        Check(encoded, maxDecodedBytes, out var header);
        ThrowIf(ReadPayload(encoded, header, output.GetSpan(header.OriginalBytes)[..header.OriginalBytes]));
        output.Advance(header.OriginalBytes);
        return header.OriginalBytes;
    }

    /// <summary>Decodes a tensor into memory of the caller, without an exception for bad input.</summary>
    /// <param name="encoded">The encoded tensor, exactly.</param>
    /// <param name="destination">Receives the elements in their original type; does not overlap <paramref name="encoded"/>. Undefined after
    /// a failure.</param>
    /// <param name="written">Bytes written; 0 after a failure.</param>
    /// <param name="reason">What is wrong with the input, when the answer is false.</param>
    /// <returns>Whether the tensor was decoded.</returns>
    public static bool TryDecode(
        ReadOnlySpan<byte> encoded, Span<byte> destination, out int written, [NotNullWhen(false)] out string? reason)
    {
        written = 0;
        reason = Verify(encoded, destination.Length, out var header);
        reason ??= ReadPayload(encoded, header, destination[..header.OriginalBytes]);
        if (reason is not null)
            return false;
        written = header.OriginalBytes;
        return true;
    }

    /// <summary>Checks everything that can be checked without decoding: header, bound, length and checksum.</summary>
    internal static string? Verify(ReadOnlySpan<byte> encoded, int maxDecodedBytes, out TensorHeader header)
    {
        if (TensorHeader.Read(encoded, out header) is { } reason)
            return reason;
        if (header.OriginalBytes > maxDecodedBytes)
            return $"The tensor decodes to {header.OriginalBytes} bytes; at most {maxDecodedBytes} are allowed.";
        if (encoded.Length != header.HeaderBytes + header.StoredBytes)
            return $"The encoded tensor takes {header.HeaderBytes + header.StoredBytes} bytes, got {encoded.Length}.";
        var crc = TensorHeader.Crc(encoded);
        return crc == header.Checksum ? null : $"The CRC-32 of the encoded tensor is {crc:X8}; its header says {header.Checksum:X8}.";
    }

    /// <summary>Decodes a verified tensor into exactly its bytes.</summary>
    internal static string? ReadPayload(ReadOnlySpan<byte> encoded, in TensorHeader header, Span<byte> tensor)
    {
        var payload = encoded[header.HeaderBytes..];
        var converted = header.StoredType != header.DataType;
        if (header.Compression == TensorCompression.None)
        {
            if (converted)
                ElementConversion.Widen(payload, header.StoredType, tensor);
            else
                payload.CopyTo(tensor);
            return null;
        }

        // Narrow elements are decompressed into the end of the destination and widened over it: no second buffer.
        var narrow = tensor[(tensor.Length - header.NarrowBytes)..];
        if (PayloadCompression.Decompress(payload, narrow, header.Compression) is { } reason)
            return reason;
        if (converted)
            ElementConversion.WidenInPlace(tensor, header.StoredType);
        return null;
    }

    private static (int Bytes, TensorCompression Compression) WriteNarrowed(
        ReadOnlySpan<byte> tensor, Span<byte> payload, KvDataType storedType, TensorShape shape, TensorCompression compression, int level)
    {
        if (compression == TensorCompression.None)
        {
            ElementConversion.Narrow(tensor, storedType, payload);
            return (payload.Length, compression);
        }

        var scratch = ArrayPool<byte>.Shared.Rent(payload.Length);
        ElementConversion.Narrow(tensor, storedType, scratch.AsSpan(0, payload.Length));
        var written = WritePayload(scratch.AsSpan(0, payload.Length), payload, storedType, shape, compression, level);
        ArrayPool<byte>.Shared.Return(scratch);
        return written;
    }

    private static (int Bytes, TensorCompression Compression) WritePayload(
        ReadOnlySpan<byte> elements, Span<byte> payload, KvDataType type, TensorShape shape, TensorCompression compression, int level)
    {
        if (compression != TensorCompression.None && elements.Length > 1)
        {
            // One byte less than the elements: what does not shrink is not worth decompressing.
            var written = PayloadCompression.Compress(elements, payload[..(elements.Length - 1)], compression, level, type, shape);
            if (written > 0)
                return (written, compression);
        }

        elements.CopyTo(payload);
        return (elements.Length, TensorCompression.None);
    }

    private static void CheckSize(KvDataType dataType, TensorShape shape)
    {
        var bytes = (long)shape.Elements * dataType.Size();
        if (bytes > KvLayout.MaxBlockBytes)
            throw new ArgumentOutOfRangeException(
                nameof(shape),
                $"A tensor of shape {shape} and type {dataType} has {bytes:N0} bytes; the most is {KvLayout.MaxBlockBytes:N0}.");
    }

    private static void Check(ReadOnlySpan<byte> encoded, int maxDecodedBytes, out TensorHeader header)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxDecodedBytes);
        ThrowIf(Verify(encoded, maxDecodedBytes, out header));
    }

    private static void ThrowIf(string? reason)
    {
        if (reason is not null)
            throw new KvFormatException(reason);
    }
}
