using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace KvCache.Hashing.Engines;

/// <summary>
/// Writes the few kinds of CBOR items that block hashes are made of, in canonical form (RFC 8949, section 4.2.1: the shortest head of every
/// item, definite lengths).
/// </summary>
internal static class CanonicalCbor
{
    private const byte UnsignedType = 0 << 5, NegativeType = 1 << 5, BytesType = 2 << 5, TextType = 3 << 5, ArrayType = 4 << 5;
    private const byte NullItem = 0xF6;

    // A replacement character would give several texts one hash.
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static void Integer(IBufferWriter<byte> writer, long value)
    {
        if (value >= 0)
            Head(writer, UnsignedType, (ulong)value);
        else
            Head(writer, NegativeType, (ulong)~value); // -1 - n is written as n
    }

    public static void Bytes(IBufferWriter<byte> writer, ReadOnlySpan<byte> value)
    {
        Head(writer, BytesType, (ulong)value.Length);
        writer.Write(value);
    }

    /// <exception cref="EncoderFallbackException">The text has half of a surrogate pair, and so no UTF-8.</exception>
    public static void Text(IBufferWriter<byte> writer, string value)
    {
        var utf8 = StrictUtf8.GetBytes(value);
        Head(writer, TextType, (ulong)utf8.Length);
        writer.Write(utf8);
    }

    /// <summary>Begins an array; its items follow.</summary>
    public static void Array(IBufferWriter<byte> writer, int count) => Head(writer, ArrayType, (ulong)count);

    public static void Null(IBufferWriter<byte> writer)
    {
        writer.GetSpan(1)[0] = NullItem;
        writer.Advance(1);
    }

    private static void Head(IBufferWriter<byte> writer, byte type, ulong value)
    {
        var span = writer.GetSpan(9);
        if (value < 24)
        {
            span[0] = (byte)(type | value);
            writer.Advance(1);
            return;
        }

        // 24 to 27: the value follows in 1, 2, 4 or 8 bytes.
        var size = value <= byte.MaxValue ? 1 : value <= ushort.MaxValue ? 2 : value <= uint.MaxValue ? 4 : 8;
        span[0] = (byte)(type | (24 + BitOperations.Log2((uint)size)));
        Span<byte> wide = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(wide, value);
        wide[^size..].CopyTo(span[1..]);
        writer.Advance(1 + size);
    }
}
