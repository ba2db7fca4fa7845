using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace KvCache.Binary;

/// <summary>
/// Appends little-endian fields to a buffer that is reused from message to message: it grows to the largest message
/// of its connection and is never shared.
/// </summary>
internal sealed class WireWriter
{
    /// <summary>What <see cref="Align"/> fills up to, in bytes: blocks that begin at a cache line are copied faster.</summary>
    public const int Alignment = 64;

    private byte[] _buffer;

    /// <summary>Creates a writer.</summary>
    /// <param name="capacity">First size of the buffer, in bytes.</param>
    public WireWriter(int capacity = 256) => _buffer = new byte[capacity];

    /// <summary>Bytes written since the last <see cref="Reset"/>.</summary>
    public int Length { get; private set; }

    /// <summary>What was written; valid until the next call.</summary>
    public ReadOnlySpan<byte> Written => _buffer.AsSpan(0, Length);

    /// <summary>What was written, as memory; valid until the next call.</summary>
    public ReadOnlyMemory<byte> WrittenMemory => _buffer.AsMemory(0, Length);

    /// <summary>What was written, to be changed in place (a length or checksum that is known only at the end).</summary>
    public Span<byte> Writable => _buffer.AsSpan(0, Length);

    /// <summary>Bytes of tagged fields in front of the rest, where there are any.</summary>
    public int FieldBytes { get; set; }

    /// <summary>Starts again at the front.</summary>
    public void Reset() => Length = FieldBytes = 0;

    /// <summary>Reserves <paramref name="count"/> bytes and returns them to be filled.</summary>
    public Span<byte> Take(int count)
    {
        if (_buffer.Length - Length < count)
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, Length + count));
        var result = _buffer.AsSpan(Length, count);
        Length += count;
        return result;
    }

    /// <summary>Appends bytes.</summary>
    public void Bytes(ReadOnlySpan<byte> value) => value.CopyTo(Take(value.Length));

    /// <summary>Appends one byte.</summary>
    public void UInt8(byte value) => Take(1)[0] = value;

    /// <summary>Appends two bytes.</summary>
    public void UInt16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), value);

    /// <summary>Appends four bytes.</summary>
    public void UInt32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

    /// <summary>Appends eight bytes.</summary>
    public void UInt64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    /// <summary>Appends hashes, 32 bytes each, without a count.</summary>
    public void Hashes(ReadOnlySpan<BlockHash> hashes) => Bytes(MemoryMarshal.AsBytes(hashes));

    /// <summary>Appends zero bytes until the length, the room for the header included, is a multiple of <see cref="Alignment"/>.</summary>
    public void Align() => Take(-Length & (Alignment - 1)).Clear();

    /// <summary>Appends a two-byte length and the UTF-8 of a text.</summary>
    /// <exception cref="ArgumentException">The text is longer than 65,535 bytes.</exception>
    public void Text(string value)
    {
        var bytes = Encoding.UTF8.GetByteCount(value);
        if (bytes > ushort.MaxValue)
            throw new ArgumentException($"A text field holds at most {ushort.MaxValue} bytes, got {bytes}.", nameof(value));
        UInt16((ushort)bytes);
        Encoding.UTF8.GetBytes(value, Take(bytes));
    }
}
