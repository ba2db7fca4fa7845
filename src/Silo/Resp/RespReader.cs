using System.Net.Sockets;
using KvCache.Silo.Connections;

namespace KvCache.Silo.Resp;

/// <summary>
/// Reads requests of Redis' protocol: arrays of strings, and plain lines. Small arguments are read into memory that is reused, values
/// straight into the caller's; nothing is believed that was only announced.
/// </summary>
internal sealed class RespReader
{
    /// <summary>Most arguments of a request, as in Redis.</summary>
    public const int MaxArguments = 1024 * 1024;

    /// <summary>Most arguments before authentication, as in Redis.</summary>
    public const int MaxArgumentsUnauthenticated = 10;

    /// <summary>Longest argument before authentication, as in Redis.</summary>
    public const int MaxLengthUnauthenticated = 16 * 1024;

    private const int BufferBytes = 16 * 1024;
    private const int LongestLine = 64 * 1024;

    private readonly ITransport _transport;
    private readonly Action _beforeWaiting;
    private readonly RespBuffer _buffer;

    /// <summary>Creates a reader.</summary>
    /// <param name="transport">Where bytes come from.</param>
    /// <param name="beforeWaiting">Called before a receive that may wait: what was answered has to be on its way by then.</param>
    public RespReader(ITransport transport, Action beforeWaiting)
    {
        _transport = transport;
        _beforeWaiting = beforeWaiting;
        _buffer = new RespBuffer(BufferBytes, LongestLine, Receive);
    }

    /// <summary>Bounds what whoever has not proved who it is can make the silo read.</summary>
    public bool Trusted { get; set; }

    /// <summary>Largest string that is accepted, in bytes.</summary>
    public int MaxLength { get; init; } = int.MaxValue;

    /// <summary>Whether bytes of a further request have arrived.</summary>
    public bool HasMore => _buffer.Count > 0;

    /// <summary>Waits for the first bytes of a request, as long as it takes.</summary>
    /// <returns>False when the peer closed the connection between two requests.</returns>
    public bool Wait()
    {
        if (HasMore)
            return true;
        _beforeWaiting();
        return _buffer.Restart(_transport.Receive) > 0;
    }

    /// <summary>Reads the head of a request.</summary>
    /// <returns>Number of its arguments, of which the first is the command; 0 when there is nothing to answer.</returns>
    /// <exception cref="RespProtocolException">The bytes are not a request.</exception>
    public int ReadHead()
    {
        _buffer.Need(1);
        if (_buffer.First != '*')
            return ReadInline();
        var line = ReadLine("too big mbulk count string");
        if (!RespBuffer.TryParse(line[1..], out var count) || count > MaxArguments)
            throw new RespProtocolException("invalid multibulk length");
        if (!Trusted && count > MaxArgumentsUnauthenticated)
            throw new RespProtocolException("unauthenticated multibulk length");
        return (int)Math.Max(count, 0);
    }

    /// <summary>Reads the head of an argument.</summary>
    /// <returns>Its length in bytes.</returns>
    /// <exception cref="RespProtocolException">The bytes are not an argument, or it is too long.</exception>
    public int ReadLength()
    {
        var line = ReadLine("too big bulk count string");
        if (line.Length == 0 || line[0] != '$')
            throw new RespProtocolException($"expected '$', got '{(line.Length == 0 ? '\r' : Printable(line[0]))}'");
        if (!RespBuffer.TryParse(line[1..], out var length) || length < 0 || length > MaxLength)
            throw new RespProtocolException("invalid bulk length");
        if (!Trusted && length > MaxLengthUnauthenticated)
            throw new RespProtocolException("unauthenticated bulk length");
        return (int)length;
    }

    /// <summary>Waits until a byte of the argument has come: what was only announced is worth no memory.</summary>
    public void WaitForArgument() => _buffer.Need(1);

    /// <summary>Reads some bytes of an argument, at least one.</summary>
    /// <param name="destination">Not longer than what is left of the argument.</param>
    /// <returns>Their number.</returns>
    public int ReadSome(Span<byte> destination) => _buffer.ReadSome(destination);

    /// <summary>Reads these bytes before what has arrived.</summary>
    public void Prepend(ReadOnlySpan<byte> bytes) => _buffer.Prepend(bytes);

    /// <summary>Says how much of a value is missing, before some of it is read.</summary>
    public void Expect(int bytes) => _transport.Expect(bytes - _buffer.Count);

    /// <summary>Reads bytes of an argument until the span is full.</summary>
    public void ReadExact(Span<byte> destination)
    {
        while (destination.Length > 0)
            destination = destination[ReadSome(destination)..];
    }

    /// <summary>Reads and forgets bytes of an argument.</summary>
    public void Skip(int bytes) => _buffer.Skip(bytes);

    /// <summary>Reads the line end behind an argument.</summary>
    /// <exception cref="RespProtocolException">It is not there: the announced length was a wrong one.</exception>
    public void ReadEnd()
    {
        if (!_buffer.TryReadEnd())
            throw new RespProtocolException("expected CRLF behind a bulk string");
    }

    /// <summary>Reads and forgets whole arguments.</summary>
    public void SkipArguments(int count)
    {
        for (; count > 0; count--)
        {
            Skip(ReadLength());
            ReadEnd();
        }
    }

    private static char Printable(byte value) => value is >= 0x20 and < 0x7f ? (char)value : '?';

    // A line is turned into the array that it stands for, in place, so that everything behind knows one form only.
    private int ReadInline()
    {
        var line = ReadLine("too big inline request", (byte)'\n');
        if (line.Length > 0 && line[^1] == '\r')
            line = line[..^1];
        if (InlineCommand.IsHttp(line))
            throw new RespProtocolException(
                "this is no HTTP server; the connection ends, so that nothing behind this line is taken for a request");
        if (!InlineCommand.TrySplit(line, out var arguments))
            throw new RespProtocolException("unbalanced quotes in request");
        if (!Trusted && arguments.Count > MaxArgumentsUnauthenticated)
            throw new RespProtocolException("unauthenticated multibulk length");
        _buffer.Prepend(InlineCommand.Encode(arguments));
        return arguments.Count;
    }

    private ReadOnlySpan<byte> ReadLine(string tooLong, byte end = (byte)'\r') =>
        _buffer.TryReadLine(end, out var line) ? line : throw new RespProtocolException(tooLong);

    private int Receive(Span<byte> destination)
    {
        _beforeWaiting();
        var got = _transport.Receive(destination);
        return got > 0
            ? got
            : throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection in the middle of a request.");
    }
}
