using System.Buffers.Text;
using System.Net.Sockets;
using KvCache.Silo.Connections;

namespace KvCache.Silo.Resp;

/// <summary>
/// Reads requests of Redis' protocol: arrays of strings, and plain lines
/// (https://redis.io/docs/latest/develop/reference/protocol-spec/). Small arguments are read into memory that is reused, values straight
/// into the
/// caller's; nothing is believed that was only announced.
/// </summary>
/// <param name="transport">Where bytes come from.</param>
/// <param name="beforeWaiting">Called before a receive that may wait: what was answered has to be on its way by then.</param>
internal sealed class RespReader(ITransport transport, Action beforeWaiting)
{
    /// <summary>Most arguments of a request, as in Redis.</summary>
    public const int MaxArguments = 1024 * 1024;

    /// <summary>Most arguments before authentication, as in Redis.</summary>
    public const int MaxArgumentsUnauthenticated = 10;

    /// <summary>Longest argument before authentication, as in Redis.</summary>
    public const int MaxLengthUnauthenticated = 16 * 1024;

    // Small, as what arrives here of a large value has to be copied; large enough for a pipeline of small requests.
    private const int BufferBytes = 16 * 1024;
    private const int LongestLine = 64 * 1024;

    private byte[] _buffer = new byte[BufferBytes];
    private int _start;
    private int _end;

    /// <summary>Bounds what whoever has not proved who it is can make the silo read.</summary>
    public bool Trusted { get; set; }

    /// <summary>Largest string that is accepted, in bytes.</summary>
    public int MaxLength { get; init; } = int.MaxValue;

    /// <summary>Whether bytes of a further request have arrived.</summary>
    public bool HasMore => _start < _end;

    /// <summary>Waits for the first bytes of a request, as long as it takes.</summary>
    /// <returns>False when the peer closed the connection between two requests.</returns>
    public bool Wait()
    {
        if (HasMore)
            return true;
        _start = _end = 0;
        Shrink();
        beforeWaiting();
        return (_end = transport.Receive(_buffer)) > 0;
    }

    /// <summary>Reads the head of a request.</summary>
    /// <returns>Number of its arguments, of which the first is the command; 0 when there is nothing to answer.</returns>
    /// <exception cref="RespProtocolException">The bytes are not a request.</exception>
    public int ReadHead()
    {
        Need(1);
        if (_buffer[_start] != '*')
            return ReadInline();
        var line = ReadLine("too big mbulk count string");
        if (!TryParse(line[1..], out var count) || count > MaxArguments)
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
        if (!TryParse(line[1..], out var length) || length < 0 || length > MaxLength)
            throw new RespProtocolException("invalid bulk length");
        if (!Trusted && length > MaxLengthUnauthenticated)
            throw new RespProtocolException("unauthenticated bulk length");
        return (int)length;
    }

    /// <summary>Waits until a byte of the argument has come: what was only announced is worth no memory.</summary>
    public void WaitForArgument() => Need(1);

    /// <summary>Reads some bytes of an argument, at least one.</summary>
    /// <param name="destination">Not longer than what is left of the argument.</param>
    /// <returns>Their number.</returns>
    public int ReadSome(Span<byte> destination)
    {
        if (_start == _end)
        {
            // A large rest goes straight to where it belongs; a small one comes with what follows it.
            if (destination.Length >= BufferBytes)
                return Receive(destination);
            Fill();
        }

        var count = Math.Min(destination.Length, _end - _start);
        _buffer.AsSpan(_start, count).CopyTo(destination);
        _start += count;
        return count;
    }

    /// <summary>Says how much of a value is missing, before some of it is read.</summary>
    public void Expect(int bytes) => transport.Expect(bytes - (_end - _start));

    /// <summary>Reads bytes of an argument until the span is full.</summary>
    public void ReadExact(Span<byte> destination)
    {
        while (destination.Length > 0)
            destination = destination[ReadSome(destination)..];
    }

    /// <summary>Reads and forgets bytes of an argument.</summary>
    public void Skip(int bytes)
    {
        while (bytes > 0)
        {
            if (_start == _end)
                Fill();
            var piece = Math.Min(bytes, _end - _start);
            _start += piece;
            bytes -= piece;
        }
    }

    /// <summary>Reads the line end behind an argument.</summary>
    /// <exception cref="RespProtocolException">It is not there: the announced length was a wrong one.</exception>
    public void ReadEnd()
    {
        Need(2);
        if (_buffer[_start] != '\r' || _buffer[_start + 1] != '\n')
            throw new RespProtocolException("expected CRLF behind a bulk string");
        _start += 2;
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

    private static bool TryParse(ReadOnlySpan<byte> text, out long number) =>
        Utf8Parser.TryParse(text, out number, out var used) && used == text.Length && used > 0;

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
        var array = InlineCommand.Encode(arguments);
        var rest = _end - _start;
        var buffer = new byte[Math.Max(BufferBytes, array.Length + rest)];
        array.CopyTo(buffer, 0);
        _buffer.AsSpan(_start, rest).CopyTo(buffer.AsSpan(array.Length));
        (_buffer, _start, _end) = (buffer, 0, array.Length + rest);
        return arguments.Count;
    }

    private ReadOnlySpan<byte> ReadLine(string tooLong) => ReadLine(tooLong, (byte)'\r');

    private ReadOnlySpan<byte> ReadLine(string tooLong, byte end)
    {
        int length, searched = 0;
        while ((length = _buffer.AsSpan(_start + searched, _end - _start - searched).IndexOf(end)) < 0)
        {
            searched = _end - _start;
            if (searched >= LongestLine)
                throw new RespProtocolException(tooLong);
            Fill();
        }

        length += searched;
        var terminator = end == '\r' ? 2 : 1;
        Need(length + terminator);
        var line = _buffer.AsSpan(_start, length);
        _start += length + terminator;
        return line;
    }

    private void Need(int bytes)
    {
        while (_end - _start < bytes)
            Fill();
    }

    private void Fill()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }

        if (_end == _buffer.Length)
            Array.Resize(ref _buffer, _buffer.Length * 2); // a line only, and those are bounded
        _end += Receive(_buffer.AsSpan(_end));
    }

    private int Receive(Span<byte> destination)
    {
        beforeWaiting();
        var got = transport.Receive(destination);
        return got > 0
            ? got
            : throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection in the middle of a request.");
    }

    private void Shrink()
    {
        if (_buffer.Length > BufferBytes)
            _buffer = new byte[BufferBytes];
    }
}
