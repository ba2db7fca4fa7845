using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KvCache.Encodings.Planes;

/// <summary>
/// Takes 16-bit floats apart into two planes of bytes and puts them together again. An element is rotated left by one bit: its upper byte
/// is then the exponent of a bfloat16, or the exponent and three bits of the mantissa of a float16; its lower byte the rest of the
/// mantissa, with the sign as the lowest bit.
/// </summary>
internal static class FloatPlanes
{
    /// <summary>Splits elements.</summary>
    /// <param name="elements">Elements, little-endian, 2 bytes each.</param>
    /// <param name="upper">Receives a byte for each.</param>
    /// <param name="lower">Receives a byte for each.</param>
    public static void Split(ReadOnlySpan<byte> elements, Span<byte> upper, Span<byte> lower)
    {
        var count = elements.Length / 2;
        ref var from = ref MemoryMarshal.GetReference(elements);
        ref var high = ref MemoryMarshal.GetReference(upper[..count]);
        ref var low = ref MemoryMarshal.GetReference(lower[..count]);
        var i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= count - 64; i += 64)
            {
                var a = Rotate(Vector512.LoadUnsafe(ref from, (nuint)(2 * i)).AsUInt16());
                var b = Rotate(Vector512.LoadUnsafe(ref from, (nuint)((2 * i) + 64)).AsUInt16());
                Vector512.Narrow(a >>> 8, b >>> 8).StoreUnsafe(ref high, (nuint)i);
                Vector512.Narrow(a & Vector512.Create((ushort)0xFF), b & Vector512.Create((ushort)0xFF)).StoreUnsafe(ref low, (nuint)i);
            }
        }

        if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= count - 16; i += 16)
            {
                var a = Rotate(Vector128.LoadUnsafe(ref from, (nuint)(2 * i)).AsUInt16());
                var b = Rotate(Vector128.LoadUnsafe(ref from, (nuint)((2 * i) + 16)).AsUInt16());
                Vector128.Narrow(a >>> 8, b >>> 8).StoreUnsafe(ref high, (nuint)i);
                Vector128.Narrow(a & Vector128.Create((ushort)0xFF), b & Vector128.Create((ushort)0xFF)).StoreUnsafe(ref low, (nuint)i);
            }
        }

        SplitScalar(elements, upper, lower, i);
    }

    /// <summary>Joins planes. The upper plane may be the second half of <paramref name="elements"/>: output never passes it.</summary>
    /// <param name="upper">A byte for each element.</param>
    /// <param name="lower">A byte for each element; does not overlap the others.</param>
    /// <param name="elements">Receives the elements, 2 bytes each.</param>
    public static void Join(ReadOnlySpan<byte> upper, ReadOnlySpan<byte> lower, Span<byte> elements)
    {
        var count = elements.Length / 2;
        ref var high = ref MemoryMarshal.GetReference(upper[..count]);
        ref var low = ref MemoryMarshal.GetReference(lower[..count]);
        ref var to = ref MemoryMarshal.GetReference(elements);
        var i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= count - 64; i += 64)
            {
                var (h0, h1) = Vector512.Widen(Vector512.LoadUnsafe(ref high, (nuint)i));
                var (l0, l1) = Vector512.Widen(Vector512.LoadUnsafe(ref low, (nuint)i));
                RotateBack((h0 << 8) | l0).AsByte().StoreUnsafe(ref to, (nuint)(2 * i));
                RotateBack((h1 << 8) | l1).AsByte().StoreUnsafe(ref to, (nuint)((2 * i) + 64));
            }
        }

        if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= count - 16; i += 16)
            {
                var (h0, h1) = Vector128.Widen(Vector128.LoadUnsafe(ref high, (nuint)i));
                var (l0, l1) = Vector128.Widen(Vector128.LoadUnsafe(ref low, (nuint)i));
                RotateBack((h0 << 8) | l0).AsByte().StoreUnsafe(ref to, (nuint)(2 * i));
                RotateBack((h1 << 8) | l1).AsByte().StoreUnsafe(ref to, (nuint)((2 * i) + 16));
            }
        }

        JoinScalar(upper, lower, elements, i);
    }

    /// <summary>Splits one element at a time, from element <paramref name="first"/> on.</summary>
    internal static void SplitScalar(ReadOnlySpan<byte> elements, Span<byte> upper, Span<byte> lower, int first)
    {
        for (var i = first; i < elements.Length / 2; i++)
        {
            var bits = elements[2 * i] | (elements[(2 * i) + 1] << 8);
            upper[i] = (byte)(bits >> 7);
            lower[i] = (byte)((bits << 1) | (bits >> 15));
        }
    }

    /// <summary>Joins one element at a time, from element <paramref name="first"/> on.</summary>
    internal static void JoinScalar(ReadOnlySpan<byte> upper, ReadOnlySpan<byte> lower, Span<byte> elements, int first)
    {
        for (var i = first; i < elements.Length / 2; i++)
        {
            var bits = (upper[i] << 7) | (lower[i] >> 1) | (lower[i] << 15);
            elements[2 * i] = (byte)bits;
            elements[(2 * i) + 1] = (byte)(bits >> 8);
        }
    }

    private static Vector512<ushort> Rotate(Vector512<ushort> bits) => (bits << 1) | (bits >>> 15);

    private static Vector512<ushort> RotateBack(Vector512<ushort> bits) => (bits >>> 1) | (bits << 15);

    private static Vector128<ushort> Rotate(Vector128<ushort> bits) => (bits << 1) | (bits >>> 15);

    private static Vector128<ushort> RotateBack(Vector128<ushort> bits) => (bits >>> 1) | (bits << 15);
}
