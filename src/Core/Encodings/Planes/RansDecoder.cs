using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCache.Encodings.Planes;

/// <summary>Decodes a plane that <see cref="RansEncoder"/> wrote.</summary>
/// <remarks>
/// Asymmetric numeral systems (Duda, "Asymmetric numeral systems", arXiv:1311.2540) in the range form, with <see cref="Lanes"/> states that
/// take turns and share one stream of words (Giesen, "Interleaved entropy coders", arXiv:1402.3392): what one lane reads depends on no
/// other lane's value, only on how many lanes before it read, so that vectors decode many lanes at once. All ways of decoding take the same
/// bytes and give the same answer.
/// </remarks>
internal static unsafe class RansDecoder
{
    /// <summary>States that take turns: value i belongs to state i mod 32.</summary>
    public const int Lanes = 32;

    /// <summary>Smallest state, and the one that encoding starts with and decoding ends with.</summary>
    public const uint Least = 1 << 16;

    private const uint SlotMask = FrequencyTable.Total - 1;

    /// <summary>Decodes a plane in the fastest way of this machine.</summary>
    /// <param name="words">The stream, 16-bit words.</param>
    /// <param name="wordsEnd">End of the stream.</param>
    /// <param name="readable">End of the memory that may be read, not before <paramref name="wordsEnd"/>: vectors look ahead.</param>
    /// <param name="states">The states, <see cref="Lanes"/> of them; changed.</param>
    /// <param name="table">Table of <see cref="FrequencyTable.BuildDecoding"/>.</param>
    /// <param name="plane">Receives the values.</param>
    /// <returns>Whether the stream was used up exactly and all states came back to where encoding starts.</returns>
    public static bool Decode(byte* words, byte* wordsEnd, byte* readable, uint* states, uint* table, Span<byte> plane) =>
        Avx512BW.IsSupported ? DecodeWidest(words, wordsEnd, readable, states, table, plane)
        : Avx2.IsSupported ? DecodeWide(words, wordsEnd, readable, states, table, plane)
        : DecodeScalar(words, wordsEnd, states, table, plane, 0);

    /// <summary>One value at a time, from value <paramref name="first"/> on.</summary>
    internal static bool DecodeScalar(byte* words, byte* wordsEnd, uint* states, uint* table, Span<byte> plane, int first)
    {
        for (var i = first; i < plane.Length; i++)
        {
            var state = states[i % Lanes];
            var slot = table[state & SlotMask];
            plane[i] = (byte)slot;
            state = ((slot >> 20) * (state >> FrequencyTable.Bits)) + ((slot >> 8) & SlotMask);
            if (state < Least)
            {
                if (words >= wordsEnd)
                    return false;
                state = (state << 16) | *(ushort*)words;
                words += sizeof(ushort);
            }

            states[i % Lanes] = state;
        }

        if (words != wordsEnd)
            return false;
        for (var lane = 0; lane < Lanes; lane++)
        {
            if (states[lane] != Least)
                return false;
        }

        return true;
    }

    /// <summary>Eight lanes in a vector (AVX2).</summary>
    internal static bool DecodeWide(byte* words, byte* wordsEnd, byte* readable, uint* states, uint* table, Span<byte> plane)
    {
        var (s0, s1, s2, s3) =
            (Vector256.Load(states), Vector256.Load(states + 8), Vector256.Load(states + 16), Vector256.Load(states + 24));
        var i = 0;
        fixed (byte* start = plane)
        {
            // 32 lanes take at most 64 bytes; the last of four loads ends within them.
            for (; i <= plane.Length - Lanes && readable - words >= Lanes * sizeof(ushort); i += Lanes)
            {
                var v0 = StepWide(ref s0, ref words, table);
                var v1 = StepWide(ref s1, ref words, table);
                var v2 = StepWide(ref s2, ref words, table);
                var v3 = StepWide(ref s3, ref words, table);
                Vector256.Narrow(Vector256.Narrow(v0, v1), Vector256.Narrow(v2, v3)).Store(start + i);
            }
        }

        s0.Store(states);
        s1.Store(states + 8);
        s2.Store(states + 16);
        s3.Store(states + 24);
        return words <= wordsEnd && DecodeScalar(words, wordsEnd, states, table, plane, i);
    }

    /// <summary>Sixteen lanes in a vector (AVX-512).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // as in the encoder
    internal static bool DecodeWidest(byte* words, byte* wordsEnd, byte* readable, uint* states, uint* table, Span<byte> plane)
    {
        var (s0, s1) = (Vector512.Load(states), Vector512.Load(states + 16));
        var i = 0;
        fixed (byte* start = plane)
        {
            for (; i <= plane.Length - Lanes && readable - words >= Lanes * sizeof(ushort); i += Lanes)
            {
                var v0 = StepWidest(ref s0, ref words, table);
                var v1 = StepWidest(ref s1, ref words, table);
                Avx512F.ConvertToVector128Byte(v0).Store(start + i);
                Avx512F.ConvertToVector128Byte(v1).Store(start + i + 16);
            }
        }

        s0.Store(states);
        s1.Store(states + 16);
        return words <= wordsEnd && DecodeScalar(words, wordsEnd, states, table, plane, i);
    }

    /// <summary>Decodes one value of each lane; answers the values, with zeros above their 8 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // a state or pointer by reference would live in memory otherwise
    private static Vector256<uint> StepWide(ref Vector256<uint> states, ref byte* words, uint* table)
    {
        var slots = Avx2.GatherVector256(table, (states & Vector256.Create(SlotMask)).AsInt32(), sizeof(uint));
        states = ((slots >>> 20) * (states >>> FrequencyTable.Bits)) + ((slots >>> 8) & Vector256.Create(SlotMask));
        var low = Vector256.Equals(states >>> 16, Vector256<uint>.Zero);
        var mask = low.ExtractMostSignificantBits();
        var next = Avx2.ConvertToVector256Int32((ushort*)words).AsUInt32();
        // The words go to the lanes that are low, in their order.
        var spread = Avx2.PermuteVar8x32(
            next, Vector256.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(Spread[(int)mask]).AsByte()).ToVector256Unsafe()));
        states = Vector256.ConditionalSelect(low, (states << 16) | spread, states);
        words += sizeof(ushort) * BitOperations.PopCount(mask);
        return slots & Vector256.Create(0xFFu);
    }

    /// <inheritdoc cref="StepWide"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> StepWidest(ref Vector512<uint> states, ref byte* words, uint* table)
    {
        var places = (states & Vector512.Create(SlotMask)).AsInt32();
        var slots = Vector512.Create(
            Avx2.GatherVector256(table, places.GetLower(), sizeof(uint)),
            Avx2.GatherVector256(table, places.GetUpper(), sizeof(uint)));
        states = ((slots >>> 20) * (states >>> FrequencyTable.Bits)) + ((slots >>> 8) & Vector512.Create(SlotMask));
        var low = Vector512.LessThan(states, Vector512.Create(Least));
        var next = Avx512F.ConvertToVector512UInt32(Vector256.Load((ushort*)words));
        states = Vector512.ConditionalSelect(low, (states << 16) | Avx512F.Expand(Vector512<uint>.Zero, low, next), states);
        words += sizeof(ushort) * BitOperations.PopCount(low.ExtractMostSignificantBits());
        return slots;
    }

    /// <summary>For every set of lanes of eight, where each lane's word is: how many lanes of the set lie before it.</summary>
    private static readonly ulong[] Spread = CreateSpread();

    private static ulong[] CreateSpread()
    {
        var spread = new ulong[256];
        for (var mask = 0; mask < spread.Length; mask++)
        {
            for (var lane = 0; lane < 8; lane++)
                spread[mask] |= (ulong)BitOperations.PopCount((uint)(mask & ((1 << lane) - 1))) << (8 * lane);
        }

        return spread;
    }
}
