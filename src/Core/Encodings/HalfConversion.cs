using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KvCache.Encodings;

/// <summary>float16 to float32 and back, 32 elements at a time: the part of <see cref="ElementConversion"/> for vectors of 512
/// bits.</summary>
/// <remarks>
/// The runtime has no intrinsic for the processor's own conversion (F16C). The loops of <c>System.Numerics.Tensors</c> were as fast as
/// these in a process of their own, and at
/// a quarter of the speed of a copy, for as long as was measured, in the benchmark (docs/benchmarks.md, codec). These are compiled well at
/// once, and rely on arithmetic on the bits and
/// IEEE 754 addition alone.
/// </remarks>
internal static class HalfConversion
{
    private const uint SignBit = 0x8000_0000;
    private const uint Infinity = 0x7F80_0000;
    private const uint Quiet = 0x7E00; // of a float16
    private const uint LeastNormal = 113u << 23; // 2^-14, the least normal float16
    private const uint Overflow = 143u << 23; // 2^16; what lies between float16's largest number and this carries into infinity by itself
    private const uint Rebias = 112u << 23; // between the exponents of the two types

    /// <summary>Converts as many elements as fill vectors.</summary>
    /// <returns>Elements converted; fewer than 32 are left.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Narrow(ReadOnlySpan<float> source, Span<ushort> destination)
    {
        ref var from = ref MemoryMarshal.GetReference(MemoryMarshal.Cast<float, uint>(source));
        ref var to = ref MemoryMarshal.GetReference(destination);
        var i = 0;
        for (; i <= source.Length - Vector512<ushort>.Count; i += Vector512<ushort>.Count)
        {
            var lower = Narrow(Vector512.LoadUnsafe(ref from, (nuint)i));
            var upper = Narrow(Vector512.LoadUnsafe(ref from, (nuint)(i + Vector512<uint>.Count)));
            Vector512.Narrow(lower, upper).StoreUnsafe(ref to, (nuint)i);
        }

        return i;
    }

    /// <inheritdoc cref="Narrow(ReadOnlySpan{float}, Span{ushort})"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Widen(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        ref var from = ref MemoryMarshal.GetReference(source);
        ref var to = ref MemoryMarshal.GetReference(MemoryMarshal.Cast<float, uint>(destination));
        var i = 0;
        for (; i <= source.Length - Vector512<ushort>.Count; i += Vector512<ushort>.Count)
        {
            var (lower, upper) = Vector512.Widen(Vector512.LoadUnsafe(ref from, (nuint)i));
            Widen(lower).StoreUnsafe(ref to, (nuint)i);
            Widen(upper).StoreUnsafe(ref to, (nuint)(i + Vector512<uint>.Count));
        }

        return i;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Narrow(Vector512<uint> bits)
    {
        var magnitude = bits & Vector512.Create(~SignBit);
        // Half of the lost part, less one, and the lowest kept bit: it carries exactly when nearest-even rounds up.
        var odd = (magnitude >>> 13) & Vector512<uint>.One;
        var normal = (magnitude - Vector512.Create(Rebias) + Vector512.Create(0xFFFu) + odd) >>> 13;
        // 2^-24, the unit of a subnormal float16, is the last bit of 0.5: the addition rounds to it.
        var half = Vector512.Create(0.5f);
        var subnormal = (magnitude.AsSingle() + half).AsUInt32() - half.AsUInt32();
        var special = Vector512.ConditionalSelect(
            Vector512.GreaterThan(magnitude, Vector512.Create(Infinity)),
            Vector512.Create(Quiet) | ((magnitude >>> 13) & Vector512.Create(0x1FFu)),
            Vector512.Create(0x7C00u));
        var result = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(LeastNormal)), subnormal, normal);
        result = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(Overflow)), special, result);
        return result | ((bits & Vector512.Create(SignBit)) >>> 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Widen(Vector512<uint> bits)
    {
        var magnitude = (bits & Vector512.Create(0x7FFFu)) << 13;
        var normal = magnitude + Vector512.Create(Rebias);
        // As the mantissa of 2^-14 a subnormal is its value too large by 2^-14: the subtraction is exact.
        var least = Vector512.Create(LeastNormal);
        var subnormal = ((magnitude | least).AsSingle() - least.AsSingle()).AsUInt32();
        var result = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(0x400u << 13)), subnormal, normal);
        // Infinity and NaN have all bits of the exponent in both types.
        result |= Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(0x7C00u << 13)) & Vector512.Create(Infinity);
        return result | ((bits & Vector512.Create(0x8000u)) << 16);
    }
}
