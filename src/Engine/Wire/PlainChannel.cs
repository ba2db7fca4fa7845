using System.Net.Sockets;

namespace KvCache.Engine.Wire;

/// <summary>A socket as it is: TCP where nobody listens in, or a Unix socket.</summary>
internal sealed class PlainChannel(Socket socket) : ByteChannel(socket)
{
    public override bool LendsPages => true;

    public override void Handshake()
    {
    }

    public override int Receive(Span<byte> destination) => Socket.Receive(destination);

    public override void WaitForBytes()
    {
        Span<byte> first = stackalloc byte[1];
        Socket.Receive(first, SocketFlags.Peek);
    }

    public override long Send(ref Span<UnmanagedPiece> pieces) => GatheredSend.Send(Socket, ref pieces);

    public override void SetLowWater(int bytes) => BulkSocket.SetLowWater(Socket, bytes);
}
