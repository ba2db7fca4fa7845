using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCache.Encodings.Planes;

/// <summary>
/// How often each byte value occurs in a plane, scaled to <see cref="Total"/>: the model of the entropy coder. Integers only, so that every
/// machine makes the same table, and with it the same bytes.
/// </summary>
internal static class FrequencyTable
{
    /// <summary>Bits of a slot: frequencies add up to 4,096.</summary>
    public const int Bits = 12;

    /// <summary>What the frequencies add up to.</summary>
    public const int Total = 1 << Bits;

    /// <summary>Values of a byte.</summary>
    public const int Symbols = 256;

    /// <summary>Most bytes of a stored table: which values occur, and two bytes for each that does.</summary>
    public const int MaxBytes = (Symbols / 8) + (2 * Symbols);

    /// <summary>Elements behind a decoding table that <see cref="BuildDecoding"/> may write: it fills whole vectors.</summary>
    public const int Slack = 16;

    /// <summary>Counts the bytes of a plane.</summary>
    /// <param name="plane">The plane.</param>
    /// <param name="counts">Receives 256 counts.</param>
    /// <param name="stride">1 counts all; a sample is one run of four bytes in so many. Odd, so that no channel of a head is left
    /// out.</param>
    /// <returns>Bytes counted.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // as in the encoder
    public static int Count(ReadOnlySpan<byte> plane, Span<int> counts, int stride = 1)
    {
        // Four tables: a byte that equals its predecessor would wait for the predecessor's store otherwise.
        Span<int> lanes = stackalloc int[4 * Symbols];
        lanes.Clear();
        var words = MemoryMarshal.Cast<byte, uint>(plane);
        ref var start = ref MemoryMarshal.GetReference(lanes);
        ref var first = ref MemoryMarshal.GetReference(words);
        for (var i = 0; i < words.Length; i += stride)
        {
            var word = Unsafe.Add(ref first, i);
            Unsafe.Add(ref start, (nint)(word & 0xFF))++;
            Unsafe.Add(ref start, (nint)(((word >> 8) & 0xFF) + Symbols))++;
            Unsafe.Add(ref start, (nint)(((word >> 16) & 0xFF) + (2 * Symbols)))++;
            Unsafe.Add(ref start, (nint)((word >> 24) + (3 * Symbols)))++;
        }

        foreach (var value in plane[(words.Length * sizeof(uint))..])
            lanes[value]++;
        TensorPrimitives.Add<int>(lanes[..Symbols], lanes.Slice(Symbols, Symbols), counts);
        TensorPrimitives.Add<int>(counts[..Symbols], lanes.Slice(2 * Symbols, Symbols), counts);
        TensorPrimitives.Add<int>(counts[..Symbols], lanes[(3 * Symbols)..], counts);
        return (((words.Length + stride - 1) / stride) * sizeof(uint)) + (plane.Length % sizeof(uint));
    }

    /// <summary>Scales counts to frequencies: at least 1 where a value occurs, <see cref="Total"/> together.</summary>
    /// <param name="counts">256 counts, at least two of them not zero.</param>
    /// <param name="elements">Their sum, at most <see cref="FloatPlaneCodec.MaxChunk"/>.</param>
    /// <param name="frequencies">Receives 256 frequencies, none above 4,095.</param>
    public static void Scale(ReadOnlySpan<int> counts, int elements, Span<ushort> frequencies)
    {
        var sum = 0;
        for (var symbol = 0; symbol < Symbols; symbol++)
        {
            var count = (uint)counts[symbol];
            frequencies[symbol] = (ushort)(count == 0 ? 0 : Math.Max(1, ((count * Total) + ((uint)elements / 2)) / (uint)elements));
            sum += frequencies[symbol];
        }

        // The rounding is put right where it costs least: at the most frequent value.
        while (sum != Total)
        {
            var most = TensorPrimitives.IndexOfMax<ushort>(frequencies[..Symbols]);
            // A large excess (many rare values) is taken from several: no value gives more than a sixteenth of itself at once.
            var change = sum < Total ? Total - sum : -Math.Min(sum - Total, Math.Max(1, frequencies[most] / 16));
            frequencies[most] = (ushort)(frequencies[most] + change);
            sum += change;
        }
    }

    /// <summary>Writes a table: a bit for each value that occurs, lowest value first, then the frequencies of those, 1 or 2 bytes
    /// each.</summary>
    /// <returns>Bytes written, at most <see cref="MaxBytes"/>.</returns>
    public static int Write(ReadOnlySpan<ushort> frequencies, Span<byte> destination)
    {
        destination[..(Symbols / 8)].Clear();
        var end = Symbols / 8;
        for (var symbol = 0; symbol < Symbols; symbol++)
        {
            var frequency = frequencies[symbol];
            if (frequency == 0)
                continue;
            destination[symbol / 8] |= (byte)(1 << (symbol % 8));
            if (frequency < 0x80)
            {
                destination[end++] = (byte)frequency;
                continue;
            }

            destination[end++] = (byte)(0x80 | (frequency & 0x7F));
            destination[end++] = (byte)(frequency >> 7);
        }

        return end;
    }

    /// <summary>Reads a table.</summary>
    /// <returns>Bytes read, or 0 when the table is cut short, or its frequencies are not valid or do not add up.</returns>
    public static int Read(ReadOnlySpan<byte> source, Span<ushort> frequencies)
    {
        frequencies.Clear();
        if (source.Length < Symbols / 8)
            return 0;
        var end = Symbols / 8;
        var sum = 0;
        for (var group = 0; group < Symbols / 8; group++)
        {
            for (uint present = source[group]; present != 0; present &= present - 1)
            {
                if (end >= source.Length)
                    return 0;
                int frequency = source[end++];
                if (frequency >= 0x80)
                {
                    if (end >= source.Length)
                        return 0;
                    frequency = (frequency & 0x7F) | (source[end++] << 7);
                }

                // 4,096 would be a plane of one value, which has a form of its own; more would not fit the fields of a slot.
                if (frequency is 0 or >= Total)
                    return 0;
                frequencies[(8 * group) + BitOperations.TrailingZeroCount(present)] = (ushort)frequency;
                sum += frequency;
            }
        }

        return sum == Total ? end : 0;
    }

    /// <summary>Fills the table that an encoder looks values up in: frequency, and above 16 bits the first slot.</summary>
    public static void BuildEncoding(ReadOnlySpan<ushort> frequencies, Span<uint> table)
    {
        uint start = 0;
        for (var symbol = 0; symbol < Symbols; symbol++)
        {
            table[symbol] = frequencies[symbol] | (start << 16);
            start += frequencies[symbol];
        }
    }

    /// <summary>Fills the table that a decoder looks slots up in: value (bits 0–7), place of the slot among the value's (8–19), frequency
    /// (20–31).</summary>
    /// <param name="frequencies">256 frequencies that add up to <see cref="Total"/>.</param>
    /// <param name="table"><see cref="Total"/> + <see cref="Slack"/> elements.</param>
    public static void BuildDecoding(ReadOnlySpan<ushort> frequencies, Span<uint> table)
    {
        Span<uint> steps = stackalloc uint[Vector<uint>.Count];
        for (var i = 0; i < steps.Length; i++)
            steps[i] = (uint)i << 8;
        var ramp = new Vector<uint>(steps);
        var start = 0;
        for (var symbol = 0; symbol < Symbols; symbol++)
        {
            int frequency = frequencies[symbol];
            var first = ((uint)frequency << 20) | (uint)symbol;
            for (var slot = 0; slot < frequency; slot += Vector<uint>.Count)
                (ramp + new Vector<uint>(first + ((uint)slot << 8))).CopyTo(table[(start + slot)..]);
            start += frequency;
        }
    }
}
