using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using KvCache.Binary;
using KvCache.Engine.Wire;
using KvCache.Silo.Resp;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>
/// RESP2 over one connection with blocking calls: requests are composed in a buffer that is reused, replies are parsed in place, payloads
/// go straight out of, and into, the caller's memory.
/// </summary>
/// <remarks>
/// One thread owns it. A timer ends the connection when a call exceeds its deadline, as a blocking receive cannot be told to stop in
/// any other way; after that, and after any failure but an error reply, the connection is out of step and must be disposed.
/// </remarks>
internal sealed class RespSocket : IDisposable
{
    // Small, as what arrives here with a reply's first line has to be copied to the caller.
    private const int BufferBytes = 4096;

    private readonly Socket _socket;
    private readonly Lock _watchLock = new();
    private readonly Timer _watch;
    private ByteChannel? _channel; // once it is connected
    private readonly WireWriter _request = new(512);
    private readonly RespBuffer _replies;
    private Deadline _deadline;
    private bool _armed;
    private bool _connected;
    private RedisFailure? _ended;

    private RespSocket(Socket socket, int bufferBytes)
    {
        _socket = socket;
        _replies = new RespBuffer(BufferBytes, BufferBytes, Receive);
        _watch = new Timer(static s => ((RespSocket)s!).EndIfLate(), this, Timeout.Infinite, Timeout.Infinite);
        FrameSocket.ApplyBuffers(socket, bufferBytes);
    }

    /// <summary>False once the connection failed or was ended.</summary>
    public bool IsUsable
    {
        get
        {
            lock (_watchLock)
                return _ended is null;
        }
    }

    /// <summary>Connects.</summary>
    /// <exception cref="RedisException">Nobody listens there, or it took too long.</exception>
    public static RespSocket Connect(RedisEndpoint endpoint, int bufferBytes, Deadline deadline)
    {
        var target = Resolve(endpoint.Locate(deadline), deadline);
        var protocol = target.AddressFamily == AddressFamily.Unix ? ProtocolType.Unspecified : ProtocolType.Tcp;
        var connection = new RespSocket(new Socket(target.AddressFamily, SocketType.Stream, protocol), bufferBytes);
        try
        {
            connection.Arm(deadline);
            connection._socket.Connect(target);
            lock (connection._watchLock)
                connection._connected = true;
            connection._channel = endpoint.Tls is { } tls
                ? new TlsChannel(connection._socket, stream => tls.Authenticate(stream, endpoint.Host))
                : new PlainChannel(connection._socket);
            connection._channel.Handshake();
            connection.Disarm();
            return connection;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or AuthenticationException)
        {
            var late = !connection.IsUsable;
            connection.Dispose();
            throw new RedisException(late ? RedisFailure.Deadline : RedisFailure.Unreachable, $"No connection to Redis: {e.Message}", e);
        }
    }

    /// <summary>Starts the clock of a call, and a request.</summary>
    /// <param name="arguments">Number of <see cref="Argument(ReadOnlySpan{byte})"/> that follow.</param>
    /// <param name="deadline">When the connection is ended unless <see cref="Disarm"/> comes first.</param>
    /// <exception cref="RedisException">The connection has been ended.</exception>
    public void Begin(int arguments, Deadline deadline)
    {
        Arm(deadline);
        _request.Reset();
        BeginAhead(arguments);
    }

    /// <summary>Starts a request whose reply comes behind those that are still to be read, or behind that of a request that was begun and
    /// is sent together with it: the clock goes on for the first of them.</summary>
    /// <param name="arguments">Number of <see cref="Argument(ReadOnlySpan{byte})"/> that follow.</param>
    public void BeginAhead(int arguments) => Prefix((byte)'*', arguments);

    /// <summary>Appends an argument of the request.</summary>
    public void Argument(ReadOnlySpan<byte> value)
    {
        AnnounceArgument(value.Length);
        _request.Bytes(value);
        EndArgument();
    }

    /// <summary>Appends a number.</summary>
    public void Argument(ulong value)
    {
        Span<byte> digits = stackalloc byte[20];
        Utf8Formatter.TryFormat(value, digits, out var length);
        Argument(digits[..length]);
    }

    /// <summary>Reserves an argument of the request, to be filled by the caller.</summary>
    /// <returns>Memory that is valid until the next call.</returns>
    public Span<byte> TakeArgument(int length)
    {
        AnnounceArgument(length);
        var start = _request.Length;
        _request.Take(length);
        EndArgument();
        return _request.Writable.Slice(start, length);
    }

    /// <summary>Starts an argument whose bytes follow by <see cref="AppendToArgument"/> and <see cref="SendPayload"/>.</summary>
    public void AnnounceArgument(long length) => Prefix((byte)'$', length);

    /// <summary>Appends bytes of an announced argument.</summary>
    public void AppendToArgument(ReadOnlySpan<byte> value) => _request.Bytes(value);

    /// <summary>Ends an announced argument.</summary>
    public void EndArgument() => _request.Bytes("\r\n"u8);

    /// <summary>Sends what was composed.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void Flush()
    {
        SendPayload(_request.Written);
        _request.Reset();
    }

    /// <summary>Sends bytes of an announced argument from where they lie.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void SendPayload(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> second = default)
    {
        try
        {
            _channel!.SendAll(bytes, second, default);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            throw Ended(e);
        }
    }

    /// <summary>Reads the first line of a reply.</summary>
    /// <param name="type">Type byte that the command returns.</param>
    /// <returns>The line behind its type, valid until the next call.</returns>
    /// <exception cref="RedisException">Redis refused (which ends the call), answered something else, or the connection broke.</exception>
    public ReadOnlySpan<byte> ReadLine(char type)
    {
        if (!_replies.TryReadLine((byte)'\r', out var line))
            throw OutOfStep($"a line is longer than {BufferBytes} bytes");
        if (line.Length > 0 && line[0] == '-')
        {
            Disarm();
            throw RedisException.OfReply(Encoding.UTF8.GetString(line[1..]));
        }

        if (line.Length == 0 || line[0] != type)
            throw OutOfStep($"'{Encoding.Latin1.GetString(line[..Math.Min(line.Length, 64)])}' came where '{type}' was expected");
        return line[1..];
    }

    /// <summary>Reads a line that is a number.</summary>
    /// <exception cref="RedisException">Redis refused, answered something else, or the connection broke.</exception>
    public long ReadNumber(char type)
    {
        var line = ReadLine(type);
        return RespBuffer.TryParse(line, out var number)
            ? number
            : throw OutOfStep($"'{Encoding.Latin1.GetString(line[..Math.Min(line.Length, 64)])}' is not a number");
    }

    /// <summary>Reads a string that fits into the buffer; longer ones are read and returned as empty.</summary>
    /// <returns>The string, valid until the next call.</returns>
    /// <exception cref="RedisException">Redis refused, answered something else, or the connection broke.</exception>
    public ReadOnlySpan<byte> ReadShortString()
    {
        var length = ReadNumber('$');
        if (length < 0)
            throw OutOfStep("a string is missing");
        if (length + 2 > BufferBytes)
        {
            Skip(length);
            ReadEnd();
            return default;
        }

        return _replies.Take((int)length + 2) is [.. var value, (byte)'\r', (byte)'\n'] ? value : throw NoEnd();
    }

    /// <summary>Receives payload bytes, at least one.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public int ReadSome(Span<byte> destination) => _replies.ReadSome(destination);

    /// <summary>Receives and forgets payload bytes.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void Skip(long bytes) => _replies.Skip(bytes);

    /// <summary>Reads the line end behind a payload.</summary>
    /// <exception cref="RedisException">It is not there.</exception>
    public void ReadEnd()
    {
        if (!_replies.TryReadEnd())
            throw NoEnd();
    }

    /// <summary>Starts the clock of a call.</summary>
    /// <param name="deadline">When the connection is ended unless <see cref="Disarm"/> comes first.</param>
    /// <exception cref="RedisException">The connection has been ended.</exception>
    public void Arm(Deadline deadline)
    {
        lock (_watchLock)
        {
            if (_ended is not null)
                throw Ended(null);
            _deadline = deadline;
            _armed = true;
        }

        _watch.Change(deadline.Left, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Stops the clock: the call is over.</summary>
    public void Disarm()
    {
        lock (_watchLock)
            _armed = false;
    }

    /// <summary>Makes the connection unusable, as nobody knows any more which bytes belong to which reply.</summary>
    /// <returns>The exception to throw.</returns>
    public RedisException OutOfStep(string what)
    {
        lock (_watchLock)
            _ended ??= RedisFailure.Protocol;
        return new RedisException(RedisFailure.Protocol, $"Redis' reply makes no sense: {what}.");
    }

    /// <summary>Ends the connection, from any thread.</summary>
    public void Abort()
    {
        lock (_watchLock)
            End(RedisFailure.Broken);
    }

    /// <summary>Closes the socket. Only the owner calls this.</summary>
    public void Dispose()
    {
        _watch.Dispose();
        lock (_watchLock)
        {
            _armed = false;
            _ended ??= RedisFailure.Broken;
        }

        _channel?.Dispose();
        _socket.Dispose();
    }

    private static EndPoint Resolve(EndPoint address, Deadline deadline)
    {
        if (address is not DnsEndPoint name)
            return address;
        try
        {
            // The resolver's own limits are far above ours, and no socket exists yet that a timer could end.
            var found = Dns.GetHostAddressesAsync(name.Host).WaitAsync(deadline.Left).GetAwaiter().GetResult();
            return new IPEndPoint(found.FirstOrDefault(ip => ip.AddressFamily == AddressFamily.InterNetwork) ?? found[0], name.Port);
        }
        catch (Exception e) when (e is SocketException or TimeoutException or IndexOutOfRangeException)
        {
            throw new RedisException(RedisFailure.Unreachable, $"The name of Redis cannot be resolved: {e.Message}", e);
        }
    }

    private void Prefix(byte type, long number)
    {
        Span<byte> text = stackalloc byte[24];
        text[0] = type;
        Utf8Formatter.TryFormat(number, text[1..], out var digits);
        "\r\n"u8.CopyTo(text[(digits + 1)..]);
        _request.Bytes(text[..(digits + 3)]);
    }

    private RedisException NoEnd() => OutOfStep("a string does not end with CR LF");

    private int Receive(Span<byte> destination)
    {
        int got;
        try
        {
            got = _channel!.Receive(destination);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            throw Ended(e);
        }

        return got > 0 ? got : throw Ended(null);
    }

    private void EndIfLate()
    {
        lock (_watchLock)
        {
            if (!_armed)
                return;
            if (_deadline.Passed)
                End(RedisFailure.Deadline);
            else
                _watch.Change(_deadline.Left + TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan); // the timer's clock is a coarse one
        }
    }

    private void End(RedisFailure why)
    {
        if (_ended is not null)
            return;
        _ended = why;
        _armed = false;
        if (_connected)
            BulkSocket.Abort(_socket);
        else
            _socket.Dispose(); // a connect in progress cannot be shut down
    }

    private RedisException Ended(Exception? cause)
    {
        lock (_watchLock)
        {
            _ended ??= RedisFailure.Broken;
            return _ended == RedisFailure.Deadline
                ? new RedisException(RedisFailure.Deadline, "Redis did not answer in time.", cause)
                : new RedisException(
                    RedisFailure.Broken, $"The connection to Redis broke{(cause is null ? "." : $": {cause.Message}")}", cause);
        }
    }
}
