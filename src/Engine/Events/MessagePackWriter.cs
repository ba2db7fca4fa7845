using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace KvCache.Engine.Events;

/// <summary>Writes the kinds of MessagePack items that KV events are made of (github.com/msgpack/msgpack, spec.md).</summary>
internal readonly struct MessagePackWriter(ArrayBufferWriter<byte> output)
{
    public void Nil() => Byte(0xC0);

    public void UInt64(ulong value)
    {
        if (value < 128)
            Byte((byte)value);
        else if (value <= uint.MaxValue)
            Number(0xCE, sizeof(uint), value);
        else
            Number(0xCF, sizeof(ulong), value);
    }

    public void Double(double value) => Number(0xCB, sizeof(ulong), BitConverter.DoubleToUInt64Bits(value));

    public void Text(string value)
    {
        var length = Encoding.UTF8.GetByteCount(value);
        if (length < 32)
            Byte((byte)(0xA0 | length));
        else
            Number(0xDB, sizeof(uint), (uint)length);
        Encoding.UTF8.GetBytes(value, output);
    }

    public void Bytes(ReadOnlySpan<byte> value)
    {
        if (value.Length <= byte.MaxValue)
            Number(0xC4, sizeof(byte), (uint)value.Length);
        else
            Number(0xC6, sizeof(uint), (uint)value.Length);
        output.Write(value);
    }

    public void Array(int count) => Container(0x90, 0xDD, count);

    public void Map(int count) => Container(0x80, 0xDF, count);

    private void Container(byte small, byte large, int count)
    {
        if (count < 16)
            Byte((byte)(small | count));
        else
            Number(large, sizeof(uint), (uint)count);
    }

    private void Byte(byte value)
    {
        output.GetSpan(1)[0] = value;
        output.Advance(1);
    }

    private void Number(byte type, int size, ulong value)
    {
        Byte(type);
        Span<byte> wide = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(wide, value);
        output.Write(wide[^size..]);
    }
}
