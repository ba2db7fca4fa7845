using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace KvCache.Silo.Events;

/// <summary>One part of a message, or a command.</summary>
/// <param name="IsCommand">Whether it is a command.</param>
/// <param name="HasMore">Whether further parts of the same message follow.</param>
/// <param name="Body">Its bytes.</param>
internal readonly record struct ZmtpFrame(bool IsCommand, bool HasMore, byte[] Body);

/// <summary>
/// A connection of ZeroMQ's wire protocol, ZMTP 3.0 (rfc.zeromq.org/spec/23) with the mechanisms NULL and, where peers prove who they are,
/// PLAIN (rfc.zeromq.org/spec/24): as much of it as publishers and subscribers need.
/// </summary>
/// <remarks>
/// Written here because the managed implementation is under the LGPL, and the part that is needed is small. Peers that speak 3.1 fall back
/// to 3.0, as the protocol has it.
/// One task reads at a time; any may write.
/// </remarks>
internal sealed class ZmtpSocket : IDisposable
{
    private const int GreetingBytes = 64;
    private const byte MoreFlag = 1, LongFlag = 2, CommandFlag = 4;

    private readonly Stream _stream;
    private readonly int _maxFrameBytes;
    private readonly SemaphoreSlim _writing = new(1);
    private readonly byte[] _head = new byte[9];

    /// <param name="socket">A connected socket, which is owned from here on.</param>
    /// <param name="maxFrameBytes">Longest frame that is accepted.</param>
    public ZmtpSocket(Socket socket, int maxFrameBytes)
        : this(new NetworkStream(socket, ownsSocket: true), maxFrameBytes)
    {
        socket.NoDelay = true;

        // Whoever only listens would not notice that the other machine has gone.
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 15);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 5);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
    }

    /// <param name="stream">A connection, which is owned from here on.</param>
    /// <param name="maxFrameBytes">Longest frame that is accepted.</param>
    public ZmtpSocket(Stream stream, int maxFrameBytes) => (_stream, _maxFrameBytes) = (stream, maxFrameBytes);

    public void Dispose()
    {
        _stream.Dispose();
        _writing.Dispose();
    }

    /// <summary>Greets, and tells and hears what kind of socket each side is.</summary>
    /// <param name="type">Our kind, <c>PUB</c> or <c>SUB</c>.</param>
    /// <param name="peerTypes">Kinds that may talk to it.</param>
    /// <param name="isLetIn">Whether a peer may come that gives this name and this secret; null where none is asked for.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="KvFormatException">The peer speaks something else, or is not let in.</exception>
    public async Task HandshakeAsync(
        string type, string[] peerTypes, Func<string, byte[], ValueTask<bool>>? isLetIn, CancellationToken cancellationToken)
    {
        var mechanism = isLetIn is null ? "NULL" : "PLAIN";
        await _stream.WriteAsync(Greeting(mechanism), cancellationToken);
        var greeting = new byte[GreetingBytes];
        await _stream.ReadExactlyAsync(greeting, cancellationToken);
        if (greeting[0] != 0xFF || (greeting[9] & 1) == 0 || greeting[10] < 3)
            throw new KvFormatException("The peer does not speak ZMTP 3. Connect a ZeroMQ socket of version 4 or newer.");
        if (Encoding.ASCII.GetString(greeting, 12, 20).TrimEnd('\0') is var theirs && theirs != mechanism)
            throw new KvFormatException($"The peer wants the security mechanism '{theirs}'; only {mechanism} is spoken here.");
        byte[] metadata;
        if (isLetIn is null)
        {
            await SendCommandAsync(Ready(type), cancellationToken);
            metadata = await ReceiveCommandAsync("READY", cancellationToken);
        }
        else
        {
            var (name, secret) = Credentials(await ReceiveCommandAsync("HELLO", cancellationToken));
            if (!await isLetIn(name, secret))
            {
                await SendCommandAsync([5, .. "ERROR"u8, 0], cancellationToken);
                throw new KvFormatException("The peer's name or secret is wrong.");
            }

            await SendCommandAsync([7, .. "WELCOME"u8], cancellationToken);
            metadata = await ReceiveCommandAsync("INITIATE", cancellationToken);
            await SendCommandAsync(Ready(type), cancellationToken);
        }

        if (SocketType(metadata) is not { } peer || !peerTypes.Contains(peer))
            throw new KvFormatException($"The peer is no socket of type {string.Join(" or ", peerTypes)}.");
    }

    /// <summary>The next part or command. Pings are answered on the way.</summary>
    /// <exception cref="EndOfStreamException">The peer has closed the connection.</exception>
    /// <exception cref="KvFormatException">The peer sent what is no frame, or too long a one.</exception>
    public async Task<ZmtpFrame> ReceiveAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _stream.ReadExactlyAsync(_head.AsMemory(0, 2), cancellationToken);
            var flags = _head[0];
            if ((flags & ~(MoreFlag | LongFlag | CommandFlag)) != 0)
                throw new KvFormatException($"The peer sent a frame with the flags 0x{flags:x2}, which ZMTP 3 does not have.");
            ulong length = _head[1];
            if ((flags & LongFlag) != 0)
            {
                await _stream.ReadExactlyAsync(_head.AsMemory(2, 7), cancellationToken);
                length = BinaryPrimitives.ReadUInt64BigEndian(_head.AsSpan(1));
            }

            if (length > (ulong)_maxFrameBytes)
                throw new KvFormatException($"The peer announced a frame of {length} bytes; at most {_maxFrameBytes} are accepted.");
            var body = new byte[length];
            await _stream.ReadExactlyAsync(body, cancellationToken);
            if ((flags & CommandFlag) == 0 || !body.AsSpan().StartsWith("\u0004PING"u8))
                return new ZmtpFrame((flags & CommandFlag) != 0, (flags & MoreFlag) != 0, body);

            // A pong repeats what stands behind the ping's time.
            byte[] pong = [4, .. "PONG"u8, .. body.AsSpan(Math.Min(body.Length, 7))];
            await SendCommandAsync(pong, cancellationToken);
        }
    }

    /// <summary>Sends a message in one piece.</summary>
    public Task SendAsync(ReadOnlyMemory<byte>[] parts, CancellationToken cancellationToken)
    {
        var message = new MemoryStream();
        for (var i = 0; i < parts.Length; i++)
            Frame(message, i + 1 < parts.Length ? MoreFlag : (byte)0, parts[i].Span);
        return WriteAsync(message, cancellationToken);
    }

    // What stands behind the name of a command.
    private async Task<byte[]> ReceiveCommandAsync(string name, CancellationToken cancellationToken)
    {
        var frame = await ReceiveAsync(cancellationToken);
        byte[] head = [(byte)name.Length, .. Encoding.ASCII.GetBytes(name)];
        return frame.IsCommand && frame.Body.AsSpan().StartsWith(head)
            ? frame.Body[head.Length..]
            : throw new KvFormatException($"The peer did not say {name} in its turn.");
    }

    // Two texts with a length of one byte each.
    private static (string Name, byte[] Secret) Credentials(byte[] hello)
    {
        if (hello.Length < 2 || hello[0] + 2 > hello.Length || hello[0] + hello[hello[0] + 1] + 2 != hello.Length)
            throw new KvFormatException("The peer's HELLO has no name and secret.");
        return (Encoding.UTF8.GetString(hello, 1, hello[0]), hello[(hello[0] + 2)..]);
    }

    private static byte[] Greeting(string mechanism)
    {
        var greeting = new byte[GreetingBytes];
        greeting[0] = 0xFF;
        greeting[9] = 0x7F;
        greeting[10] = 3; // and minor version 0
        Encoding.ASCII.GetBytes(mechanism, greeting.AsSpan(12));
        greeting[32] = (byte)(mechanism == "PLAIN" ? 1 : 0); // who asks for proofs is the server
        return greeting;
    }

    private static byte[] Ready(string type)
    {
        var value = Encoding.ASCII.GetBytes(type);
        return [5, .. "READY"u8, 11, .. "Socket-Type"u8, 0, 0, 0, (byte)value.Length, .. value];
    }

    // Properties: length of the name, name, length of the value in four bytes, value.
    private static string? SocketType(ReadOnlySpan<byte> properties)
    {
        while (properties.Length > 0)
        {
            var name = properties[0];
            if (properties.Length < 1 + name + 4)
                return null;
            var length = BinaryPrimitives.ReadUInt32BigEndian(properties[(1 + name)..]);
            if (length > (uint)(properties.Length - 5 - name))
                return null;
            var value = properties.Slice(5 + name, (int)length);
            if (Encoding.ASCII.GetString(properties.Slice(1, name)).Equals("Socket-Type", StringComparison.OrdinalIgnoreCase))
                return Encoding.ASCII.GetString(value);
            properties = properties[(5 + name + (int)length)..];
        }

        return null;
    }

    private Task SendCommandAsync(byte[] body, CancellationToken cancellationToken)
    {
        var message = new MemoryStream();
        Frame(message, CommandFlag, body);
        return WriteAsync(message, cancellationToken);
    }

    private async Task WriteAsync(MemoryStream message, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken);
        try
        {
            await _stream.WriteAsync(message.GetBuffer().AsMemory(0, (int)message.Length), cancellationToken);
        }
        finally
        {
            _writing.Release();
        }
    }

    private static void Frame(MemoryStream message, byte flags, ReadOnlySpan<byte> body)
    {
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(length, (ulong)body.Length);
        message.WriteByte(body.Length <= byte.MaxValue ? flags : (byte)(flags | LongFlag));
        message.Write(body.Length <= byte.MaxValue ? length[7..] : length);
        message.Write(body);
    }
}
