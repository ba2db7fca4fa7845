using System.Net.Sockets;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Connections;

/// <summary>A connected socket, with blocking calls on the thread that owns the connection.</summary>
internal sealed class SocketTransport : ITransport
{
    // The watchdog sees how much a slow reader has taken only between calls.
    private const int PieceBytes = 4 << 20;

    // A receive of a large value waits for this much.
    private const int LowWater = FrameSocket.ChunkBytes / 2;

    private readonly Socket _socket;
    private bool _waitsForMore;

    public SocketTransport(Socket socket)
    {
        _socket = socket;
        BulkSocket.Tune(socket);
        if (socket.ProtocolType == ProtocolType.Tcp)
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
    }

    public long ReceivedBytes { get; private set; }

    public long SentBytes { get; private set; }

    public int Receive(Span<byte> destination)
    {
        var got = _socket.Receive(destination);
        ReceivedBytes += got;
        return got;
    }

    /// <summary>Waits until some bytes have come, and leaves them where they are.</summary>
    public void WaitForBytes()
    {
        Span<byte> first = stackalloc byte[1];
        _socket.Receive(first, SocketFlags.Peek);
    }

    public void Expect(int bytes)
    {
        // What is missing at the end must not be waited for in vain.
        var more = bytes >= FrameSocket.ChunkBytes;
        if (more == _waitsForMore)
            return;
        _waitsForMore = more;
        BulkSocket.SetLowWater(_socket, more ? LowWater : 1);
    }

    public void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        for (; second.Length > PieceBytes; second = second[PieceBytes..], first = default)
        {
            BulkSocket.SendAll(_socket, first, second[..PieceBytes], default);
            SentBytes += first.Length + PieceBytes;
        }

        BulkSocket.SendAll(_socket, first, second, third);
        SentBytes += first.Length + second.Length + third.Length;
    }
}
