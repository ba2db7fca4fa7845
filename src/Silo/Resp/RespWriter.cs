using System.Buffers.Text;
using System.Text;
using KvCache.Silo.Connections;

namespace KvCache.Silo.Resp;

/// <summary>
/// Writes replies of Redis' protocol, version 2 or 3. Small ones are collected, so that the answers of a pipeline leave together; a value
/// leaves with what was collected before it in one call, straight from where it lies.
/// </summary>
internal sealed class RespWriter(ITransport transport)
{
    private const int BufferBytes = 16 * 1024;

    // Above this a copy costs more than a call of the kernel that gathers.
    private const int CopiedBytes = BufferBytes / 2;

    private const int LongestError = 512;

    private readonly byte[] _buffer = new byte[BufferBytes];
    private int _length;

    /// <summary>Version of the protocol, 2 or 3.</summary>
    public int Version { get; set; } = 2;

    /// <summary>Sends what was collected.</summary>
    public void Flush()
    {
        if (_length == 0)
            return;
        var length = _length;
        _length = 0;
        transport.Send(_buffer.AsSpan(0, length), default, default);
    }

    /// <summary>A short text that is not an error, such as OK.</summary>
    public void Simple(ReadOnlySpan<byte> text) => Line((byte)'+', text);

    /// <summary>An error. The first word is its code.</summary>
    public void Error(string text)
    {
        // A line end inside would be taken for the end of the reply, and part of the text can be the client's own words.
        var bytes = Encoding.UTF8.GetBytes(text.Length > LongestError ? text[..LongestError] : text);
        bytes.AsSpan().Replace((byte)'\r', (byte)' ');
        bytes.AsSpan().Replace((byte)'\n', (byte)' ');
        Line((byte)'-', bytes);
    }

    /// <summary>A number.</summary>
    public void Integer(long value) => Number((byte)':', value);

    /// <summary>A value that is not there.</summary>
    public void Null() => Raw(Version == 3 ? "_\r\n"u8 : "$-1\r\n"u8);

    /// <summary>An array that is not there.</summary>
    public void NullArray() => Raw(Version == 3 ? "_\r\n"u8 : "*-1\r\n"u8);

    /// <summary>The head of an array; its elements follow.</summary>
    public void Array(int count) => Number((byte)'*', count);

    /// <summary>The head of a map; its keys and values follow in turns.</summary>
    public void Map(int count)
    {
        if (Version == 3)
            Number((byte)'%', count);
        else
            Number((byte)'*', 2L * count);
    }

    /// <summary>A string.</summary>
    public void Bulk(ReadOnlySpan<byte> value)
    {
        Number((byte)'$', value.Length);
        if (value.Length > CopiedBytes)
        {
            var length = _length;
            _length = 0;
            transport.Send(_buffer.AsSpan(0, length), value, "\r\n"u8);
            return;
        }

        Raw(value);
        Raw("\r\n"u8);
    }

    /// <summary>A string.</summary>
    public void Bulk(string value) => Bulk(Encoding.UTF8.GetBytes(value));

    private void Line(byte type, ReadOnlySpan<byte> text)
    {
        Reserve(text.Length + 3);
        _buffer[_length++] = type;
        Raw(text);
        Raw("\r\n"u8);
    }

    private void Number(byte type, long value)
    {
        Reserve(24);
        _buffer[_length++] = type;
        Utf8Formatter.TryFormat(value, _buffer.AsSpan(_length), out var digits);
        _length += digits;
        Raw("\r\n"u8);
    }

    private void Raw(ReadOnlySpan<byte> bytes)
    {
        Reserve(bytes.Length);
        bytes.CopyTo(_buffer.AsSpan(_length));
        _length += bytes.Length;
    }

    private void Reserve(int bytes)
    {
        if (_length + bytes > BufferBytes)
            Flush();
    }
}
