using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using KvCache.Orleans.Access;
using KvCache.Testing;

namespace KvCache.ProcessTests.Security;

/// <summary>A connection to one of Orleans' ports on which a test sends what it likes. What it sent is kept, to be sent again.</summary>
internal sealed class RawDoor : IDuplexPipe, IDisposable
{
    private readonly Socket _socket;
    private readonly Sent _stream;

    private RawDoor(Socket socket)
    {
        _socket = socket;
        _stream = new Sent(new NetworkStream(socket, ownsSocket: true));
        Input = PipeReader.Create(_stream);
        Output = PipeWriter.Create(_stream);
    }

    public PipeReader Input { get; }

    public PipeWriter Output { get; }

    /// <summary>The bytes of each write, in order.</summary>
    public List<byte[]> Writes => _stream.Writes;

    /// <param name="port">The port.</param>
    /// <param name="from">The address that it comes from.</param>
    public static async Task<RawDoor> ConnectAsync(int port, string from = "127.0.0.1")
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Parse(from), 0));
        await socket.ConnectAsync(IPAddress.Loopback, port);
        return new RawDoor(socket);
    }

    /// <summary>Proves a secret.</summary>
    /// <exception cref="DoorRefusedException">The silo has another one.</exception>
    public async Task<DoorTicket> ProveAsync(OrleansDoor door, string name, string secret)
    {
        using var limit = new CancellationTokenSource(Eventually.Bound);
        return await DoorHandshake.ProveAsync(this, door, name, System.Text.Encoding.UTF8.GetBytes(secret), limit.Token);
    }

    /// <summary>Sends bytes.</summary>
    public async Task SendAsync(byte[] bytes) => await Output.WriteAsync(bytes);

    /// <summary>Reads up to a number of bytes; fewer when the silo ends the connection before.</summary>
    public async Task<byte[]> ReadAsync(int bytes)
    {
        using var limit = new CancellationTokenSource(Eventually.Bound);
        var buffer = new byte[bytes];
        var at = 0;
        try
        {
            while (at < bytes && await _stream.ReadAsync(buffer.AsMemory(at), limit.Token) is var read and > 0)
                at += read;
        }
        catch (IOException)
        {
            // Reset: the same, less politely.
        }

        return buffer[..at];
    }

    public void Dispose() => _socket.Dispose();

    private sealed class Sent(NetworkStream stream) : Stream
    {
        public List<byte[]> Writes { get; } = [];

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Writes.Add(buffer.ToArray());
            return stream.WriteAsync(buffer, cancellationToken);
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            stream.ReadAsync(buffer, cancellationToken);

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
