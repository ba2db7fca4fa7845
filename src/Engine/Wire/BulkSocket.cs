using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace KvCache.Engine.Wire;

/// <summary>What every stream socket that carries blocks has in common.</summary>
internal static class BulkSocket
{
    /// <summary>Sets a connected socket up for small requests beside large payloads. Unix sockets need nothing.</summary>
    public static void Tune(Socket socket)
    {
        if (socket.ProtocolType != ProtocolType.Tcp)
            return;
        socket.NoDelay = true;
        LeavePacing(socket);
    }

    /// <summary>
    /// Sets how many bytes a receive waits for, where the kernel can do that (TCP on Linux). Whoever empties a socket faster than its peer
    /// fills it is otherwise woken for every piece, and on a virtual machine the peer pays for each wake-up.
    /// </summary>
    /// <param name="socket">A connected socket.</param>
    /// <param name="bytes">The number. More than the peer is certain to send is waited for until it closes the connection.</param>
    public static void SetLowWater(Socket socket, int bytes)
    {
        const int SocketLevel = 1, ReceiveLowWater = 18;
        if (OperatingSystem.IsLinux() && socket.ProtocolType == ProtocolType.Tcp)
            socket.SetRawSocketOption(SocketLevel, ReceiveLowWater, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in bytes)));
    }

    /// <summary>Ends a connection from any thread: calls that wait for the peer return with an error.</summary>
    public static void Abort(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It had ended by itself.
        }
    }

    // A host whose default congestion control is BBR paces even its loopback: 1.6–3.1 GiB/s were measured with it, 5.6–9.1 with
    // Reno, the one algorithm that every Linux lets every user choose. Other networks keep the host's choice.
    private static void LeavePacing(Socket socket)
    {
        const int Tcp = 6, Congestion = 13;
        if (!OperatingSystem.IsLinux() || socket.RemoteEndPoint is not IPEndPoint { Address: var peer } || !IPAddress.IsLoopback(peer))
            return;
        try
        {
            socket.SetRawSocketOption(Tcp, Congestion, "reno"u8);
        }
        catch (SocketException)
        {
            // The kernel was built without it: nothing is lost but speed.
        }
    }
}
