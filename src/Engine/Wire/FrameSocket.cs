using System.Net.Sockets;
using System.Runtime.InteropServices;
using KvCache.Binary;
using KvCache.Caching;

namespace KvCache.Engine.Wire;

/// <summary>
/// Frames over one connected stream socket, plain or encrypted, with blocking calls on the thread that owns the connection: straight out
/// of, and into, the memory that the caller names.
/// </summary>
/// <remarks>
/// Blocking calls, because bytes are moved fastest by a thread that does nothing else: an asynchronous receive costs a wake-up
/// through the thread pool for every socket buffer. One thread reads and one thread at a time writes;
/// <see cref="Abort"/> may be called from any thread and ends both.
/// </remarks>
internal sealed class FrameSocket : IDisposable
{
    /// <summary>
    /// Bytes moved by one call: large enough to make calls rare, small enough that what was just checked or received is still in a
    /// second-level cache of 1 MiB (256 KiB was up to 10 % faster than 512 KiB with 32 MiB blocks).
    /// </summary>
    public const int ChunkBytes = 256 * 1024;

    private readonly ByteChannel _channel;
    private PutSender? _putSender;
    private byte[] _frame = new byte[4096];
    private int _begun; // bytes of the next header that are there
    private int _fieldBytes; // of the frame that was received last

    /// <summary>Takes over a connected socket.</summary>
    /// <param name="socket">The socket, in blocking mode; disposed with this object.</param>
    /// <param name="maxMeta">Longest meta part that is accepted, in bytes.</param>
    /// <param name="maxPayload">Longest payload that is accepted, in bytes.</param>
    public FrameSocket(Socket socket, int maxMeta = WireProtocol.MaxMetaBytes, long maxPayload = long.MaxValue)
        : this(new PlainChannel(socket), maxMeta, maxPayload)
    {
    }

    /// <summary>Takes over a connection.</summary>
    /// <param name="channel">The connection, after its handshake or before; disposed with this object.</param>
    /// <param name="maxMeta">Longest meta part that is accepted, in bytes.</param>
    /// <param name="maxPayload">Longest payload that is accepted, in bytes.</param>
    internal FrameSocket(ByteChannel channel, int maxMeta = WireProtocol.MaxMetaBytes, long maxPayload = long.MaxValue)
    {
        _channel = channel;
        MaxMeta = maxMeta;
        MaxPayload = maxPayload;
    }

    /// <summary>Longest meta part that is accepted, in bytes.</summary>
    public int MaxMeta { get; set; }

    /// <summary>Longest payload that is accepted, in bytes.</summary>
    public long MaxPayload { get; set; }

    /// <summary>The process at the other end, where the socket tells it (<see cref="Engine.Wire.PeerProcess.Of"/>).</summary>
    public PeerProcess? PeerProcess => Engine.Wire.PeerProcess.Of(_channel.Socket);

    /// <summary>Whether pages may be lent to the kernel.</summary>
    public bool LendsPages => _channel.LendsPages;

    /// <summary>Bytes received so far, headers included.</summary>
    public long ReceivedBytes { get; private set; }

    /// <summary>Bytes sent so far, headers included.</summary>
    public long SentBytes { get; private set; }

    /// <summary>Sets the kernel buffers of a socket.</summary>
    /// <param name="socket">A socket that is not connected yet, or was just accepted.</param>
    /// <param name="bytes">Size of each; 0 for 1 MiB on a Unix socket and the kernel's own tuning on TCP.</param>
    public static void ApplyBuffers(Socket socket, int bytes)
    {
        if (bytes == 0 && socket.AddressFamily == AddressFamily.Unix)
            bytes = 1 << 20;
        if (bytes == 0)
            return;
        socket.SendBufferSize = bytes;
        socket.ReceiveBufferSize = bytes;
    }

    /// <summary>Waits for the next frame and reads its header and meta part.</summary>
    /// <param name="header">The header, with its bounds and checksum checked.</param>
    /// <param name="meta">The meta part behind its tagged fields; valid until the next call.</param>
    /// <returns>False when the peer closed the connection between two frames.</returns>
    /// <exception cref="KvFormatException">The bytes are not a frame.</exception>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public bool TryReceive(out FrameHeader header, out ReadOnlySpan<byte> meta)
    {
        header = default;
        meta = default;
        if (!WaitForFrame())
            return false;
        meta = ReceiveFrame(out header);
        return true;
    }

    /// <summary>
    /// Waits for the first bytes of the next frame, as long as it takes: time limits of a frame begin when this returns.
    /// </summary>
    /// <returns>False when the peer closed the connection between two frames.</returns>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public bool WaitForFrame()
    {
        _begun = _channel.Receive(_frame.AsSpan(0, FrameHeader.Size));
        ReceivedBytes += _begun;
        return _begun > 0;
    }

    /// <summary>Reads the header and meta part of the frame that <see cref="WaitForFrame"/> waited for.</summary>
    /// <param name="header">The header, with its bounds and checksum checked.</param>
    /// <returns>The meta part behind its tagged fields; valid until the next call.</returns>
    /// <exception cref="KvFormatException">The bytes are not a frame.</exception>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public ReadOnlySpan<byte> ReceiveFrame(out FrameHeader header)
    {
        ReceiveExact(_frame.AsSpan(_begun, FrameHeader.Size - _begun));
        header = FrameHeader.Parse(_frame, MaxMeta, MaxPayload);
        var length = FrameHeader.Size + header.MetaLength;
        if (_frame.Length < length)
            Array.Resize(ref _frame, length);
        ReceiveExact(_frame.AsSpan(FrameHeader.Size, header.MetaLength));
        header.Verify(_frame.AsSpan(0, length));
        _fieldBytes = header.FieldBytes;
        return _frame.AsSpan(FrameHeader.Size + _fieldBytes, header.MetaLength - _fieldBytes);
    }

    /// <summary>The tagged fields of the frame that was received last; valid until the next call.</summary>
    public ReadOnlySpan<byte> Fields => _frame.AsSpan(FrameHeader.Size, _fieldBytes);

    /// <summary>
    /// Waits until some bytes have come, and leaves them where they are: what was only announced is worth no memory. A peer that closes the
    /// connection ends the wait too; the next receive tells.
    /// </summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public void WaitForBytes() => _channel.WaitForBytes();

    /// <summary>Receives until the span is full.</summary>
    /// <exception cref="SocketException">The connection broke, ended or was aborted.</exception>
    public void ReceiveExact(Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            var got = _channel.Receive(destination);
            if (got == 0)
                throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection in the middle of a frame.");
            ReceivedBytes += got;
            destination = destination[got..];
        }
    }

    /// <summary>Receives a run of layers and computes their checksums on the way.</summary>
    /// <param name="destination">Memory of exactly the run's size.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="range">Layers of the run.</param>
    /// <param name="checksums">Receives one checksum a layer.</param>
    /// <param name="completed">Hears how many layers of the run are there, their checksums included; null for nobody.</param>
    /// <exception cref="SocketException">The connection broke, ended or was aborted.</exception>
    public void ReceiveLayers(
        Span<byte> destination, KvLayout layout, LayerRange range, Span<uint> checksums, Action<int>? completed = null)
    {
        var cursor = new ChecksumCursor(layout, range, checksums);
        while (destination.Length > 0)
        {
            var got = _channel.Receive(destination[..Math.Min(destination.Length, ChunkBytes)]);
            if (got == 0)
                throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection in the middle of a block.");
            ReceivedBytes += got;
            var before = cursor.Completed;
            cursor.Advance(destination[..got]);
            if (cursor.Completed > before)
                completed?.Invoke(cursor.Completed);
            destination = destination[got..];
        }
    }

    /// <summary>Receives and forgets.</summary>
    /// <exception cref="SocketException">The connection broke, ended or was aborted.</exception>
    public void Drain(long bytes)
    {
        Span<byte> scratch = stackalloc byte[16 * 1024];
        while (bytes > 0)
        {
            var piece = scratch[..(int)Math.Min(bytes, scratch.Length)];
            ReceiveExact(piece);
            bytes -= piece.Length;
        }
    }

    /// <summary>Sends a frame's header and meta part, and a payload that may be empty.</summary>
    /// <param name="frame">A writer in which the first <see cref="FrameHeader.Size"/> bytes were taken for the header.</param>
    /// <param name="type">What the frame is.</param>
    /// <param name="status">Outcome.</param>
    /// <param name="requestId">Id of the request.</param>
    /// <param name="payload">Sent behind the meta part.</param>
    /// <param name="follower">A small frame, complete, that is sent right behind.</param>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public void Send(
        WireWriter frame, FrameType type, WireStatus status, ulong requestId, ReadOnlySpan<byte> payload = default,
        ReadOnlySpan<byte> follower = default)
    {
        FrameHeader.Write(frame.Writable, type, status, requestId, payload.Length, frame.FieldBytes);
        SendAll(frame.Written, payload, follower);
    }

    /// <summary>Sends a frame's header and meta part; the caller sends the payload.</summary>
    /// <param name="frame">A writer in which the first <see cref="FrameHeader.Size"/> bytes were taken for the header.</param>
    /// <param name="type">What the frame is.</param>
    /// <param name="status">Outcome.</param>
    /// <param name="requestId">Id of the request.</param>
    /// <param name="payloadLength">Bytes that the caller will send.</param>
    public void SendHeader(WireWriter frame, FrameType type, WireStatus status, ulong requestId, long payloadLength)
    {
        FrameHeader.Write(frame.Writable, type, status, requestId, payloadLength, frame.FieldBytes);
        SendAll(frame.Written);
    }

    /// <summary>
    /// Sends a put: behind each block the checksums of its layers, which are computed on the way. Nobody may change or free the blocks
    /// before <see cref="EndPut"/>.
    /// </summary>
    /// <param name="frame">A writer in which the first <see cref="FrameHeader.Size"/> bytes were taken for the header.</param>
    /// <param name="requestId">Id of the request.</param>
    /// <param name="blocks">Bytes of blocks.</param>
    /// <param name="first">Index of the first block.</param>
    /// <param name="count">Number of blocks.</param>
    /// <param name="layout">Their shape.</param>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public void SendPut(
        WireWriter frame, ulong requestId, IReadOnlyList<ReadOnlyMemory<byte>> blocks, int first, int count, KvLayout layout)
    {
        FrameHeader.Write(
            frame.Writable, FrameType.Put, WireStatus.Ok, requestId, WireProtocol.PutPayloadBytes(layout, count), frame.FieldBytes);
        (_putSender ??= new PutSender(this)).Send(frame.WrittenMemory, blocks, first, count, layout);
    }

    /// <summary>The peer has answered the put: it has read all bytes.</summary>
    public void EndPut() => _putSender!.Release();

    /// <summary>Sends all bytes.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public void SendAll(ReadOnlySpan<byte> bytes) => SendAll(bytes, default, default);

    /// <summary>Sends runs of bytes, at most 1,024; changes the pieces.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    internal void SendAll(Span<UnmanagedPiece> pieces)
    {
        while (pieces.Length > 0)
            SentBytes += _channel.Send(ref pieces);
    }

    /// <summary>Sends runs of bytes that stay as they are until the peer has answered.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    internal void SendAll(PagePipe pipe, ReadOnlySpan<UnmanagedPiece> pieces) => SentBytes += pipe.Send(_channel.Socket, pieces);

    /// <summary>Sends a frame whose payload lies in many places, with as few calls of the kernel as can be.</summary>
    /// <param name="head">Header and meta part, complete; frames before it may come along.</param>
    /// <param name="pieces">The payload, at most 1,022 pieces.</param>
    /// <param name="follower">A small frame, complete, that is sent right behind; or empty.</param>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public unsafe void SendPieces(ReadOnlySpan<byte> head, ReadOnlySpan<UnmanagedPiece> pieces, ReadOnlySpan<byte> follower)
    {
        fixed (byte* first = head, last = follower)
        {
            Span<UnmanagedPiece> all = stackalloc UnmanagedPiece[pieces.Length + 2];
            all[0] = new UnmanagedPiece((nint)first, head.Length);
            pieces.CopyTo(all[1..]);
            all[^1] = new UnmanagedPiece((nint)last, follower.Length);
            SendAll(all);
        }
    }

    private void SendAll(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        _channel.SendAll(first, second, third);
        SentBytes += first.Length + second.Length + third.Length;
    }

    /// <summary>Ends the connection from any thread: calls that wait for the peer return with an error.</summary>
    public void Abort() => _channel.Abort();

    /// <summary>Closes the socket. Only the owning thread calls this, when no other uses the connection.</summary>
    public void Dispose()
    {
        // What was lent to the kernel is not to be sent any more. A peer that has got it already finds that checksums differ when it was
        // changed.
        if (_putSender is { IsOpen: true } && _channel.Socket.ProtocolType == ProtocolType.Tcp)
            _channel.Socket.LingerState = new LingerOption(true, 0);
        _channel.Dispose();
        _putSender?.Dispose();
    }
}
