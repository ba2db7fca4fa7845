using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCache.Encodings.Planes;

/// <summary>Entropy coding of a plane; see <see cref="RansDecoder"/> for the method.</summary>
/// <remarks>
/// A stack: values go in from the last to the first, and words are written from the end of the buffer to its front, so that the decoder
/// runs forward in both.
/// </remarks>
internal static unsafe class RansEncoder
{
    /// <summary>Words in front of the stream that may be written: vectors store more than they have.</summary>
    public const int Slack = 16;

    private const int Lanes = RansDecoder.Lanes;

    /// <summary>Encodes a plane in the fastest way of this machine.</summary>
    /// <param name="plane">The values, at least one.</param>
    /// <param name="table">Table of <see cref="FrequencyTable.BuildEncoding"/>; every value of the plane has a frequency of 1 to
    /// 4,095.</param>
    /// <param name="states">Receives the states that the decoder begins with, <see cref="Lanes"/> of them.</param>
    /// <param name="wordsEnd">The stream ends here; it takes at most one word a value, and <see cref="Slack"/> words before it are
    /// overwritten.</param>
    /// <returns>Where the stream begins.</returns>
    public static ushort* Encode(ReadOnlySpan<byte> plane, uint* table, uint* states, ushort* wordsEnd) =>
        Avx512BW.IsSupported ? EncodeWidest(plane, table, states, wordsEnd) : EncodeScalar(plane, table, states, wordsEnd);

    /// <summary>One value at a time.</summary>
    internal static ushort* EncodeScalar(ReadOnlySpan<byte> plane, uint* table, uint* states, ushort* wordsEnd)
    {
        new Span<uint>(states, Lanes).Fill(RansDecoder.Least);
        return EncodeTail(plane, 0, table, states, wordsEnd);
    }

    /// <summary>Sixteen lanes in a vector (AVX-512).</summary>
    // a loop like this at the first, quick compilation is twenty times slower, and a cache may call it rarely
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static ushort* EncodeWidest(ReadOnlySpan<byte> plane, uint* table, uint* states, ushort* wordsEnd)
    {
        new Span<uint>(states, Lanes).Fill(RansDecoder.Least);
        var whole = plane.Length / Lanes * Lanes;
        var words = EncodeTail(plane, whole, table, states, wordsEnd);
        var (s0, s1) = (Vector512.Load(states), Vector512.Load(states + 16));
        fixed (byte* start = plane)
        {
            for (var i = whole - Lanes; i >= 0; i -= Lanes)
            {
                StepWidest(start + i + 16, ref s1, ref words, table);
                StepWidest(start + i, ref s0, ref words, table);
            }
        }

        s0.Store(states);
        s1.Store(states + 16);
        return words;
    }

    private static ushort* EncodeTail(ReadOnlySpan<byte> plane, int first, uint* table, uint* states, ushort* words)
    {
        for (var i = plane.Length - 1; i >= first; i--)
        {
            var entry = table[plane[i]];
            var (frequency, start) = (entry & 0xFFFF, entry >> 16);
            var state = states[i % Lanes];
            if (state >> 20 >= frequency)
            {
                *--words = (ushort)state;
                state >>= 16;
            }

            var (quotient, remainder) = Math.DivRem(state, frequency);
            states[i % Lanes] = (quotient << FrequencyTable.Bits) + remainder + start;
        }

        return words;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)] // a state or pointer by reference would live in memory otherwise
    private static void StepWidest(byte* values, ref Vector512<uint> states, ref ushort* words, uint* table)
    {
        var symbols = Avx512F.ConvertToVector512Int32(Vector128.Load(values));
        var entries = Vector512.Create(
            Avx2.GatherVector256(table, symbols.GetLower(), sizeof(uint)),
            Avx2.GatherVector256(table, symbols.GetUpper(), sizeof(uint)));
        var frequency = entries & Vector512.Create(0xFFFFu);

        var full = Vector512.GreaterThanOrEqual(states >>> 20, frequency);
        var count = BitOperations.PopCount(full.ExtractMostSignificantBits());
        // The words of full lanes, moved to the end of the vector: what lies before them is overwritten by the next step.
        var packed = Avx512F.Compress(Vector512<uint>.Zero, full, states);
        var last = Avx512F.PermuteVar16x32(packed, Vector512<uint>.Indices + Vector512.Create((uint)count));
        Avx512F.ConvertToVector256UInt16(last).Store(words - 16);
        words -= count;
        states = Vector512.ConditionalSelect(full, states >>> 16, states);

        // Everything is rounded toward zero, and a quotient is below 2^20: it is exact or one too small, and then the remainder tells.
        var quotient = Avx512F.ConvertToVector512UInt32WithTruncation(Avx512F.Divide(
            Avx512F.ConvertToVector512Single(states, FloatRoundingMode.ToZero), Avx512F.ConvertToVector512Single(frequency),
                FloatRoundingMode.ToZero));
        var remainder = states - (quotient * frequency);
        var next = (quotient << FrequencyTable.Bits) + remainder + (entries >>> 16);
        states = Vector512.ConditionalSelect(
            Vector512.GreaterThanOrEqual(remainder, frequency), next + (Vector512.Create((uint)FrequencyTable.Total) - frequency), next);
    }
}
