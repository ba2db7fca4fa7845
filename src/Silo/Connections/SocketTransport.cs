using System.Net.Sockets;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Connections;

/// <summary>A connection, plain or encrypted, with blocking calls on the thread that owns the connection.</summary>
internal sealed class SocketTransport : ITransport
{
    // The watchdog sees how much a slow reader has taken only between calls.
    private const int PieceBytes = 4 << 20;

    // A receive of a large value waits for this much.
    private const int LowWater = FrameSocket.ChunkBytes / 2;

    private readonly ByteChannel _channel;
    private bool _waitsForMore;

    public SocketTransport(ByteChannel channel)
    {
        _channel = channel;
        if (channel.Socket.ProtocolType == ProtocolType.Tcp)
            channel.Socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
    }

    public long ReceivedBytes { get; private set; }

    public long SentBytes { get; private set; }

    public int Receive(Span<byte> destination)
    {
        var got = _channel.Receive(destination);
        ReceivedBytes += got;
        return got;
    }

    /// <summary>Waits until some bytes have come, and leaves them where they are.</summary>
    public void WaitForBytes() => _channel.WaitForBytes();

    public void Expect(int bytes)
    {
        // What is missing at the end must not be waited for in vain.
        var more = bytes >= FrameSocket.ChunkBytes;
        if (more == _waitsForMore)
            return;
        _waitsForMore = more;
        _channel.SetLowWater(more ? LowWater : 1);
    }

    public void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        for (; second.Length > PieceBytes; second = second[PieceBytes..], first = default)
        {
            _channel.SendAll(first, second[..PieceBytes], default);
            SentBytes += first.Length + PieceBytes;
        }

        _channel.SendAll(first, second, third);
        SentBytes += first.Length + second.Length + third.Length;
    }
}
