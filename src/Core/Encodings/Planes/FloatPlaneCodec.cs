using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KvCache.Encodings.Planes;

/// <summary>
/// Lossless compression of 16-bit floats: chunk by chunk, exponents and mantissas apart (<see cref="FloatPlanes"/>), each plane
/// entropy-coded by its own frequencies
/// where that pays. The bytes are described in docs/serialization.md.
/// </summary>
/// <remarks>
/// Exponents of activations take about 2.6 of their 8 bits, mantissas nearly all of theirs (Hershcovitch et al., "ZipNN: Lossless
/// Compression for AI Models", arXiv:2411.05239). General compressors look for repeated strings, of which there are none here.
/// </remarks>
internal static unsafe class FloatPlaneCodec
{
    /// <summary>Most elements of a chunk: its planes and tables stay in the second-level cache.</summary>
    public const int MaxChunk = 1 << 16;

    /// <summary>Bytes in front of the first chunk.</summary>
    public const int HeaderBytes = sizeof(uint);

    /// <summary>Fewest elements for which a part of a tensor gets chunks, and with them frequencies, of its own.</summary>
    private const int LeastPart = 1 << 12;

    /// <summary>A plane shorter than this cannot win: the states alone take half of it.</summary>
    private const int LeastCoded = 256;

    /// <summary>Mantissas are nearly always even, and a sample shows it; exponents are nearly always not, and are counted at
    /// once.</summary>
    private const int SampleStride = 7;

    private const int StatesBytes = RansDecoder.Lanes * sizeof(uint);

    private enum Form : byte
    {
        Raw = 0,
        Constant = 1,
        Coded = 2,
    }

    /// <summary>Whether elements of a type can be compressed.</summary>
    public static bool Takes(KvDataType type) => type is KvDataType.Float16 or KvDataType.BFloat16;

    /// <summary>
    /// Elements of a chunk for a tensor. Chunks begin where the outermost dimension steps, where that is short: keys and values have
    /// frequencies of their own.
    /// </summary>
    public static int ChunkElements(TensorShape shape)
    {
        var part = shape.Elements;
        if (shape.Rank > 1 && shape[0] is > 1 and <= 8 && part / shape[0] >= LeastPart)
            part /= shape[0];
        var chunks = (part + MaxChunk - 1) / MaxChunk;
        for (var even = chunks; even <= 2 * chunks; even++)
        {
            if (even > 0 && part % even == 0)
                return part / even;
        }

        return Math.Clamp(part, 1, MaxChunk);
    }

    /// <summary>Compresses elements if the result fits the destination.</summary>
    /// <param name="elements">Elements, 2 bytes each.</param>
    /// <param name="destination">Receives the payload.</param>
    /// <param name="chunk">Elements of a chunk, 1 to <see cref="MaxChunk"/>.</param>
    /// <returns>Bytes written, or 0 when the result would not fit.</returns>
    public static int Compress(ReadOnlySpan<byte> elements, Span<byte> destination, int chunk)
    {
        if (destination.Length < HeaderBytes || !BitConverter.IsLittleEndian)
            return 0;
        BinaryPrimitives.WriteInt32LittleEndian(destination, chunk);
        var end = HeaderBytes;
        var wordsBytes = (chunk + RansEncoder.Slack) * sizeof(ushort);
        var scratch = ArrayPool<byte>.Shared.Rent((2 * chunk) + wordsBytes);
        var upper = scratch.AsSpan(wordsBytes, chunk);
        var lower = scratch.AsSpan(wordsBytes + chunk, chunk);
        for (var offset = 0; offset < elements.Length && end > 0; offset += 2 * chunk)
        {
            var count = Math.Min(chunk, (elements.Length - offset) / 2);
            FloatPlanes.Split(elements.Slice(offset, 2 * count), upper, lower);
            end = WritePlane(upper[..count], destination, end, scratch.AsSpan(0, wordsBytes), stride: 1);
            if (end > 0)
                end = WritePlane(lower[..count], destination, end, scratch.AsSpan(0, wordsBytes), SampleStride);
        }

        ArrayPool<byte>.Shared.Return(scratch);
        return end;
    }

    /// <summary>Decompresses exactly as many elements as the destination holds.</summary>
    /// <param name="source">The payload, exactly.</param>
    /// <param name="elements">Receives the elements, 2 bytes each; undefined after a failure.</param>
    /// <returns>Null, or what is wrong with the source.</returns>
    public static string? Decompress(ReadOnlySpan<byte> source, Span<byte> elements)
    {
        if (!BitConverter.IsLittleEndian)
            return "Float planes are not decoded on a big-endian machine.";
        if (source.Length < HeaderBytes)
            return $"A payload of float planes starts with {HeaderBytes} bytes, got {source.Length}.";
        var chunk = BinaryPrimitives.ReadInt32LittleEndian(source);
        if (chunk is < 1 or > MaxChunk)
            return $"Chunks of {chunk} elements; expected 1 to {MaxChunk}.";

        const int TableBytes = (FrequencyTable.Total + FrequencyTable.Slack) * sizeof(uint);
        chunk = Math.Min(chunk, elements.Length / 2);
        var scratch = ArrayPool<byte>.Shared.Rent(TableBytes + chunk);
        var table = MemoryMarshal.Cast<byte, uint>(scratch.AsSpan(0, TableBytes));
        var reason = (string?)null;
        var position = HeaderBytes;
        for (var offset = 0; offset < elements.Length && reason is null; offset += 2 * chunk)
        {
            var part = elements.Slice(offset, Math.Min(2 * chunk, elements.Length - offset));
            // The upper plane is decoded into the second half of where the elements go, and joined over itself.
            var upper = part[(part.Length / 2)..];
            var lower = (ReadOnlySpan<byte>)scratch.AsSpan(TableBytes, upper.Length);
            if (!ReadPlane(source, ref position, upper, table)
                || !ReadLower(source, ref position, ref lower, scratch.AsSpan(TableBytes, upper.Length), table))
                reason = $"The chunk at element {offset / 2} is malformed or cut short.";
            else
                FloatPlanes.Join(upper, lower, part);
        }

        ArrayPool<byte>.Shared.Return(scratch);
        return reason ?? (position == source.Length ? null : $"The chunks end at byte {position} of {source.Length}.");
    }

    /// <summary>Writes one plane in its smallest form.</summary>
    /// <returns>Where it ends, or 0 when it does not fit.</returns>
    private static int WritePlane(ReadOnlySpan<byte> plane, Span<byte> destination, int end, Span<byte> words, int stride)
    {
        var room = destination[end..];
        if (!plane.ContainsAnyExcept(plane[0]))
        {
            if (room.Length < 2)
                return 0;
            room[0] = (byte)Form.Constant;
            room[1] = plane[0];
            return end + 2;
        }

        Span<int> counts = stackalloc int[FrequencyTable.Symbols];
        if (plane.Length >= LeastCoded && IsUneven(counts, FrequencyTable.Count(plane, counts, stride)))
        {
            if (stride > 1)
                FrequencyTable.Count(plane, counts);
            if (WriteCoded(plane, counts, room, words) is > 0 and var coded)
                return end + coded;
        }

        if (room.Length < 1 + plane.Length)
            return 0;
        room[0] = (byte)Form.Raw;
        plane.CopyTo(room[1..]);
        return end + 1 + plane.Length;
    }

    /// <summary>
    /// Whether coding a plane can be worth its time. Pairs of equal values tell, in integers: their entropy (Rényi, of order 2) is below
    /// Shannon's, and of bytes that
    /// are all equally frequent it is 8 bits. Asked for is a quarter of a bit, beside the pairs that a value makes with itself.
    /// </summary>
    private static bool IsUneven(ReadOnlySpan<int> counts, int elements)
    {
        long pairs = 0;
        foreach (long count in counts)
            pairs += count * (count - 1);
        return pairs * FrequencyTable.Symbols > (long)elements * elements * 19 / 16;
    }

    /// <returns>Bytes written, or 0 when coding saves less than a 32nd, or does not fit.</returns>
    private static int WriteCoded(ReadOnlySpan<byte> plane, ReadOnlySpan<int> counts, Span<byte> room, Span<byte> words)
    {
        var most = Math.Min(room.Length, plane.Length - (plane.Length / 32));
        if (most < 1 + FrequencyTable.MaxBytes + sizeof(ushort) + StatesBytes)
            return 0;
        Span<ushort> frequencies = stackalloc ushort[FrequencyTable.Symbols];
        FrequencyTable.Scale(counts, plane.Length, frequencies);
        room[0] = (byte)Form.Coded;
        var end = 1 + FrequencyTable.Write(frequencies, room[1..]);

        var table = stackalloc uint[FrequencyTable.Symbols];
        FrequencyTable.BuildEncoding(frequencies, new Span<uint>(table, FrequencyTable.Symbols));
        var states = stackalloc uint[RansDecoder.Lanes];
        fixed (byte* buffer = words)
        {
            var wordsEnd = (ushort*)(buffer + words.Length);
            var start = RansEncoder.Encode(plane, table, states, wordsEnd);
            var count = (int)(wordsEnd - start);
            if (most < end + sizeof(ushort) + StatesBytes + (count * sizeof(ushort)))
                return 0;
            BinaryPrimitives.WriteUInt16LittleEndian(room[end..], (ushort)count);
            end += sizeof(ushort);
            new ReadOnlySpan<byte>(states, StatesBytes).CopyTo(room[end..]);
            end += StatesBytes;
            new ReadOnlySpan<byte>(start, count * sizeof(ushort)).CopyTo(room[end..]);
            return end + (count * sizeof(ushort));
        }
    }

    /// <summary>Reads the lower plane: where it lies in the source if it is raw, else into the buffer.</summary>
    private static bool ReadLower(
        ReadOnlySpan<byte> source, ref int position, ref ReadOnlySpan<byte> lower, Span<byte> buffer, Span<uint> table)
    {
        if (position >= source.Length || source[position] != (byte)Form.Raw)
            return ReadPlane(source, ref position, buffer, table);
        if (source.Length - position - 1 < buffer.Length)
            return false;
        lower = source.Slice(position + 1, buffer.Length);
        position += 1 + buffer.Length;
        return true;
    }

    private static bool ReadPlane(ReadOnlySpan<byte> source, ref int position, Span<byte> plane, Span<uint> table)
    {
        if (position >= source.Length)
            return false;
        var form = (Form)source[position++];
        var rest = source[position..];
        switch (form)
        {
            case Form.Raw when rest.Length >= plane.Length:
                rest[..plane.Length].CopyTo(plane);
                position += plane.Length;
                return true;
            case Form.Constant when rest.Length >= 1:
                plane.Fill(rest[0]);
                position++;
                return true;
            case Form.Coded:
                var read = ReadCoded(rest, plane, table);
                position += read;
                return read > 0;
            default:
                return false;
        }
    }

    /// <returns>Bytes read, or 0 when they are malformed.</returns>
    private static int ReadCoded(ReadOnlySpan<byte> source, Span<byte> plane, Span<uint> table)
    {
        Span<ushort> frequencies = stackalloc ushort[FrequencyTable.Symbols];
        var tableBytes = FrequencyTable.Read(source, frequencies);
        if (tableBytes == 0)
            return 0;
        var rest = source[tableBytes..];
        if (rest.Length < sizeof(ushort) + StatesBytes)
            return 0;
        var wordsBytes = BinaryPrimitives.ReadUInt16LittleEndian(rest) * sizeof(ushort);
        var states = stackalloc uint[RansDecoder.Lanes];
        rest.Slice(sizeof(ushort), StatesBytes).CopyTo(new Span<byte>(states, StatesBytes));
        rest = rest[(sizeof(ushort) + StatesBytes)..];
        if (rest.Length < wordsBytes)
            return 0;
        FrequencyTable.BuildDecoding(frequencies, table);
        fixed (byte* words = rest)
        fixed (uint* slots = table)
        {
            return RansDecoder.Decode(words, words + wordsBytes, words + rest.Length, states, slots, plane)
                ? tableBytes + sizeof(ushort) + StatesBytes + wordsBytes
                : 0;
        }
    }
}
