using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCache.Encodings;

namespace KvCache;

/// <summary>Converts between float32 and the 16-bit floating-point types, at the speed of memory.</summary>
/// <remarks>Elements are little-endian; a big-endian machine is refused rather than served with swapped bytes.</remarks>
public static class ElementConversion
{
    private const uint QuietBit = 0x0040; // of a bfloat16: a signalling NaN whose payload sits in the lost half must not become infinity

    /// <summary>Rounds float32 to bfloat16: to nearest, ties to even. NaN stays NaN (made quiet), infinities and signed zeros
    /// stay.</summary>
    /// <param name="source">Elements to convert.</param>
    /// <param name="destination">Receives the bit patterns, at least as long as <paramref name="source"/>; does not overlap it.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    public static void SingleToBFloat16(ReadOnlySpan<float> source, Span<ushort> destination)
    {
        CheckLength(source.Length, destination.Length);
        var bits = MemoryMarshal.Cast<float, uint>(source);
        ref var from = ref MemoryMarshal.GetReference(bits);
        ref var to = ref MemoryMarshal.GetReference(destination);
        var i = 0;
        for (; i <= bits.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            var lower = Round(Vector.LoadUnsafe(ref from, (nuint)i));
            var upper = Round(Vector.LoadUnsafe(ref from, (nuint)(i + Vector<uint>.Count)));
            Vector.Narrow(lower, upper).StoreUnsafe(ref to, (nuint)i);
        }

        for (; i < bits.Length; i++)
            destination[i] = Round(bits[i]);
    }

    /// <summary>Widens bfloat16 to float32; exact for every bit pattern.</summary>
    /// <param name="source">Bit patterns to convert.</param>
    /// <param name="destination">Receives the elements, at least as long as <paramref name="source"/>; does not overlap it.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    public static void BFloat16ToSingle(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        CheckLength(source.Length, destination.Length);
        var bits = MemoryMarshal.Cast<float, uint>(destination);
        ref var from = ref MemoryMarshal.GetReference(source);
        ref var to = ref MemoryMarshal.GetReference(bits);
        var i = 0;
        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(Vector.LoadUnsafe(ref from, (nuint)i), out var lower, out var upper);
            (lower << 16).StoreUnsafe(ref to, (nuint)i);
            (upper << 16).StoreUnsafe(ref to, (nuint)(i + Vector<uint>.Count));
        }

        for (; i < source.Length; i++)
            bits[i] = (uint)source[i] << 16;
    }

    /// <summary>Rounds float32 to float16: to nearest, ties to even. NaN stays NaN, what exceeds 65,504 becomes infinite.</summary>
    /// <param name="source">Elements to convert.</param>
    /// <param name="destination">Receives the elements, at least as long as <paramref name="source"/>; does not overlap it.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    public static void SingleToFloat16(ReadOnlySpan<float> source, Span<Half> destination)
    {
        CheckLength(source.Length, destination.Length);
        var done = Vector512.IsHardwareAccelerated ? HalfConversion.Narrow(source, MemoryMarshal.Cast<Half, ushort>(destination)) : 0;
        TensorPrimitives.ConvertToHalf(source[done..], destination[done..]);
    }

    /// <summary>Widens float16 to float32; exact for every number.</summary>
    /// <param name="source">Elements to convert.</param>
    /// <param name="destination">Receives the elements, at least as long as <paramref name="source"/>; does not overlap it.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    public static void Float16ToSingle(ReadOnlySpan<Half> source, Span<float> destination)
    {
        CheckLength(source.Length, destination.Length);
        var done = Vector512.IsHardwareAccelerated ? HalfConversion.Widen(MemoryMarshal.Cast<Half, ushort>(source), destination) : 0;
        TensorPrimitives.ConvertToSingle(source[done..], destination[done..]);
    }

    /// <summary>Float32 bytes to the bytes of <paramref name="stored"/>, Float16 or BFloat16; destination is half as long.</summary>
    internal static void Narrow(ReadOnlySpan<byte> source, KvDataType stored, Span<byte> destination)
    {
        RefuseBigEndian();
        var singles = MemoryMarshal.Cast<byte, float>(source);
        if (stored == KvDataType.Float16)
            SingleToFloat16(singles, MemoryMarshal.Cast<byte, Half>(destination));
        else
            SingleToBFloat16(singles, MemoryMarshal.Cast<byte, ushort>(destination));
    }

    /// <summary>Bytes of <paramref name="stored"/>, Float16 or BFloat16, to float32 bytes; destination is twice as long.</summary>
    internal static void Widen(ReadOnlySpan<byte> source, KvDataType stored, Span<byte> destination)
    {
        RefuseBigEndian();
        var singles = MemoryMarshal.Cast<byte, float>(destination);
        if (stored == KvDataType.Float16)
            Float16ToSingle(MemoryMarshal.Cast<byte, Half>(source), singles);
        else
            BFloat16ToSingle(MemoryMarshal.Cast<byte, ushort>(source), singles);
    }

    /// <summary>Widens 16-bit elements that lie in the upper half of <paramref name="buffer"/> over the whole of it.</summary>
    /// <remarks>Front to back, output never passes input: element i is written to 4i..4i+4 and the next one is read from 2n+2(i+1), which
    /// is not before.</remarks>
    internal static void WidenInPlace(Span<byte> buffer, KvDataType stored)
    {
        Span<byte> chunk = stackalloc byte[4096];
        var narrow = buffer[(buffer.Length / 2)..];
        for (var offset = 0; offset < narrow.Length; offset += chunk.Length)
        {
            // A copy, because the conversions do not take overlapping spans; it stays in the first-level cache.
            var part = chunk[..Math.Min(chunk.Length, narrow.Length - offset)];
            narrow.Slice(offset, part.Length).CopyTo(part);
            Widen(part, stored, buffer.Slice(2 * offset, 2 * part.Length));
        }
    }

    private static Vector<uint> Round(Vector<uint> bits)
    {
        // Adding 0x7FFF and the lowest kept bit carries into the upper half exactly when nearest-even rounds up.
        var rounded = (bits + new Vector<uint>(0x7FFF) + ((bits >> 16) & Vector<uint>.One)) >> 16;
        var quiet = (bits >> 16) | new Vector<uint>(QuietBit);
        // The sign is masked off, so a signed comparison is right, and it is the one that every instruction set has.
        var magnitude = Vector.AsVectorInt32(bits & new Vector<uint>(0x7FFF_FFFF));
        var isNaN = Vector.AsVectorUInt32(Vector.GreaterThan(magnitude, new Vector<int>(0x7F80_0000)));
        return Vector.ConditionalSelect(isNaN, quiet, rounded);
    }

    private static ushort Round(uint bits) => (bits & 0x7FFF_FFFF) > 0x7F80_0000
        ? (ushort)((bits >> 16) | QuietBit)
        : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);

    private static void CheckLength(int source, int destination)
    {
        if (destination < source)
            throw new ArgumentException($"The destination holds {destination} elements, {source} are to be written.", nameof(destination));
    }

    private static void RefuseBigEndian()
    {
        if (!BitConverter.IsLittleEndian)
            throw new PlatformNotSupportedException(
                "Tensor elements are little-endian; conversion on a big-endian machine is not supported. Use ElementEncoding.Raw.");
    }
}
