using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.Bench.Raw;

namespace KvCache.Bench.Redis;

/// <summary>
/// GET and SET as a C client does them: a blocking socket, replies parsed in place, payload received straight into the caller's memory.
/// Comparing with an asynchronous .NET client would measure that client rather than Redis.
/// </summary>
/// <remarks>
/// Speaks RESP2, the protocol that a connection has before HELLO (https://redis.io/docs/latest/develop/reference/protocol-spec/).
/// Requests may be sent ahead; replies come in their order.
/// </remarks>
internal sealed class RespClient : IDisposable
{
    private const int LongestLine = 4096;
    private readonly Socket _socket;
    // Small, as what arrives here with a header has to be copied to the caller; large enough for the replies of a pipeline of SETs.
    private readonly byte[] _buffer = new byte[16 << 10];
    private int _start;
    private int _end;

    private RespClient(Socket socket) => _socket = socket;

    public static RespClient Connect(EndPoint address, SocketTuning tuning)
    {
        var socket = new Socket(
            address.AddressFamily, SocketType.Stream, address is UnixDomainSocketEndPoint ? ProtocolType.Unspecified : ProtocolType.Tcp);
        try
        {
            tuning.Apply(socket);
            socket.Connect(address);
            return new RespClient(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public void SendGet(string key) => _socket.SendExactly(Encoding.ASCII.GetBytes($"*2\r\n$3\r\nGET\r\n${key.Length}\r\n{key}\r\n"));

    public void SendDelete(string key) => _socket.SendExactly(Encoding.ASCII.GetBytes($"*2\r\n$3\r\nDEL\r\n${key.Length}\r\n{key}\r\n"));

    public void SendSet(string key, ReadOnlySpan<byte> value)
    {
        _socket.SendExactly(Encoding.ASCII.GetBytes($"*3\r\n$3\r\nSET\r\n${key.Length}\r\n{key}\r\n${value.Length}\r\n"));
        _socket.SendExactly(value);
        _socket.SendExactly("\r\n"u8);
    }

    public void SendSet(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        _socket.SendExactly(Encoding.ASCII.GetBytes($"*3\r\n$3\r\nSET\r\n${key.Length}\r\n"));
        _socket.SendExactly(key);
        _socket.SendExactly(Encoding.ASCII.GetBytes($"\r\n${value.Length}\r\n"));
        _socket.SendExactly(value);
        _socket.SendExactly("\r\n"u8);
    }

    /// <summary>Sends commands that were encoded before.</summary>
    public void Send(ReadOnlySpan<byte> commands) => _socket.SendExactly(commands);

    /// <summary>Receives the reply to a GET.</summary>
    /// <returns>Bytes of the value, or -1 when the key does not exist.</returns>
    /// <exception cref="IOException">The reply is an error, is malformed, or is larger than <paramref name="target"/>.</exception>
    public int ReceiveValue(Span<byte> target)
    {
        var length = ParseNumber(ReceiveLine((byte)'$'), "a length");
        if (length == -1)
            return -1;
        if (length < 0 || length > target.Length)
            throw new IOException($"Redis announced a value of {length:N0} bytes; expected 0 to {target.Length:N0}.");
        var value = target[..(int)length];
        var buffered = Math.Min(value.Length, _end - _start);
        _buffer.AsSpan(_start, buffered).CopyTo(value);
        _start += buffered;
        _socket.ReceiveExactly(value[buffered..]);
        if (ReceiveByte() != '\r' || ReceiveByte() != '\n')
            throw new IOException("A value of Redis does not end with CR LF.");
        return value.Length;
    }

    /// <summary>Receives <c>+OK</c>.</summary>
    /// <exception cref="IOException">The reply is anything else.</exception>
    public void ReceiveOk()
    {
        var line = ReceiveLine((byte)'+');
        if (!line.SequenceEqual("OK"u8))
            throw new IOException($"Redis answered {Encoding.ASCII.GetString(line)}; expected OK.");
    }

    /// <summary>Receives a number, as DEL answers.</summary>
    public long ReceiveNumber() => ParseNumber(ReceiveLine((byte)':'), "a number");

    public void Dispose() => _socket.Dispose();

    private static long ParseNumber(ReadOnlySpan<byte> line, string what) =>
        Utf8Parser.TryParse(line, out long number, out var used) && used == line.Length && used > 0
            ? number
            : throw new IOException($"Redis answered '{Encoding.ASCII.GetString(line)}'; expected {what}.");

    /// <returns>The line behind its type byte, valid until the next receive.</returns>
    private ReadOnlySpan<byte> ReceiveLine(byte type)
    {
        var searched = 0;
        int end;
        while ((end = _buffer.AsSpan(_start + searched, _end - _start - searched).IndexOf("\r\n"u8)) < 0)
        {
            // The last byte may be the CR of a line end that is still on its way.
            searched = Math.Max(0, _end - _start - 1);
            if (searched >= LongestLine)
                throw new IOException($"A reply of Redis has no line end within {LongestLine} bytes.");
            Fill();
        }
        var line = _buffer.AsSpan(_start, searched + end);
        _start += searched + end + 2;
        if (line.Length > 0 && line[0] == '-')
            throw new IOException($"Redis refused: {Encoding.UTF8.GetString(line[1..])}");
        if (line.Length == 0 || line[0] != type)
            throw new IOException($"Redis answered '{Encoding.ASCII.GetString(line)}'; expected a reply of type {(char)type}.");
        return line[1..];
    }

    private byte ReceiveByte()
    {
        if (_start == _end)
            Fill();
        return _buffer[_start++];
    }

    private void Fill()
    {
        _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
        _end -= _start;
        _start = 0;
        var received = _socket.Receive(_buffer.AsSpan(_end));
        if (received == 0)
            throw new EndOfStreamException("Redis closed the connection within a reply.");
        _end += received;
    }
}
