using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCache.Bench.Raw;

/// <summary>Whole-buffer reads and writes on blocking sockets.</summary>
internal static class SocketIo
{
    /// <exception cref="IOException">The peer closed the connection.</exception>
    public static void ReceiveExactly(this Socket socket, Span<byte> target)
    {
        while (target.Length > 0)
        {
            var received = socket.Receive(target);
            if (received == 0)
                throw new EndOfStreamException($"The peer closed the connection {target.Length:N0} bytes before the end.");
            target = target[received..];
        }
    }

    public static void SendExactly(this Socket socket, ReadOnlySpan<byte> source)
    {
        while (source.Length > 0)
            source = source[socket.Send(source)..];
    }

    public static void SendRequest(this Socket socket, in RawRequest request) =>
        socket.SendExactly(MemoryMarshal.AsBytes(new ReadOnlySpan<RawRequest>(in request)));

    /// <returns>False when the peer closed the connection between two requests.</returns>
    public static bool TryReceiveRequest(this Socket socket, out RawRequest request)
    {
        Unsafe.SkipInit(out request);
        var bytes = MemoryMarshal.AsBytes(new Span<RawRequest>(ref request));
        var received = socket.Receive(bytes);
        if (received == 0)
            return false;
        socket.ReceiveExactly(bytes[received..]);
        return true;
    }

    public static void ReceiveAck(this Socket socket)
    {
        Span<byte> ack = stackalloc byte[RawRequest.AckBytes];
        socket.ReceiveExactly(ack);
    }

    public static void SendAck(this Socket socket)
    {
        ReadOnlySpan<byte> ack = stackalloc byte[RawRequest.AckBytes];
        socket.SendExactly(ack);
    }
}
