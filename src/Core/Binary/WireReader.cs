using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace KvCache.Binary;

/// <summary>Reads little-endian fields from a bounded buffer; running past the end is a <see cref="KvFormatException"/>.</summary>
/// <param name="buffer">The bytes, usually the meta part of a frame.</param>
internal ref struct WireReader(ReadOnlySpan<byte> buffer)
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private ReadOnlySpan<byte> _rest = buffer;

    /// <summary>Bytes not yet read.</summary>
    public readonly int Remaining => _rest.Length;

    /// <summary>The next <paramref name="count"/> bytes, without a copy.</summary>
    public ReadOnlySpan<byte> Bytes(int count)
    {
        if ((uint)count > (uint)_rest.Length)
            throw new KvFormatException($"The message ends too early: {count} more bytes were expected, {_rest.Length} are left.");
        var result = _rest[..count];
        _rest = _rest[count..];
        return result;
    }

    /// <summary>One byte.</summary>
    public byte UInt8() => Bytes(1)[0];

    /// <summary>Two bytes, little-endian.</summary>
    public ushort UInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2));

    /// <summary>Four bytes, little-endian.</summary>
    public uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4));

    /// <summary>Eight bytes, little-endian.</summary>
    public ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8));

    /// <summary>A four-byte count or size that must not exceed a limit.</summary>
    /// <param name="max">Largest accepted value.</param>
    /// <param name="what">Name of the field, for the message.</param>
    public int Count(int max, string what)
    {
        var value = UInt32();
        return value <= (uint)max ? (int)value : throw new KvFormatException($"The field '{what}' is {value}; at most {max} is accepted.");
    }

    /// <summary>A run of 32-byte hashes, without a copy.</summary>
    public ReadOnlySpan<BlockHash> Hashes(int count)
    {
        if ((uint)count > (uint)(_rest.Length / BlockHash.Size))
            throw new KvFormatException($"The message ends too early: {count} hashes were expected, {_rest.Length} bytes are left.");
        return MemoryMarshal.Cast<byte, BlockHash>(Bytes(count * BlockHash.Size));
    }

    /// <summary>A two-byte length and that many bytes of UTF-8.</summary>
    /// <param name="maxBytes">Largest accepted length.</param>
    /// <param name="what">Name of the field, for the message.</param>
    public string Text(int maxBytes, string what)
    {
        var length = UInt16();
        if (length > maxBytes)
            throw new KvFormatException($"The field '{what}' has {length} bytes; at most {maxBytes} are accepted.");
        try
        {
            return StrictUtf8.GetString(Bytes(length));
        }
        catch (DecoderFallbackException e)
        {
            throw new KvFormatException($"The field '{what}' is not valid UTF-8.", e);
        }
    }

    /// <summary>Fails unless what is left is the zero bytes of <see cref="WireWriter.Align"/>.</summary>
    public readonly void EndAligned()
    {
        if (_rest.Length >= WireWriter.Alignment || _rest.ContainsAnyExcept((byte)0))
            throw new KvFormatException($"The message has {_rest.Length} bytes too many.");
    }

    /// <summary>Fails unless everything was read: bytes nobody understands are an error, not an extension.</summary>
    public readonly void End()
    {
        if (_rest.Length != 0)
            throw new KvFormatException($"The message has {_rest.Length} bytes too many.");
    }
}
