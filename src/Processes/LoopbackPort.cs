using System.Net;
using System.Net.Sockets;

namespace KvCache.Processes;

/// <summary>Ports of programs that cannot choose one and tell us.</summary>
internal static class LoopbackPort
{
    /// <summary>A port that was free a moment ago.</summary>
    public static int FindFree()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>The address of a port where somebody listens, or null.</summary>
    public static IPEndPoint? TryReach(int port)
    {
        var address = new IPEndPoint(IPAddress.Loopback, port);
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect(address);
            return address;
        }
        catch (SocketException)
        {
            return null;
        }
    }
}
