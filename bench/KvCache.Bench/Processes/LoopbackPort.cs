using System.Net;
using System.Net.Sockets;

namespace KvCache.Bench.Processes;

/// <summary>Ports for servers that cannot choose one and tell us.</summary>
internal static class LoopbackPort
{
    /// <summary>A port that was free a moment ago.</summary>
    public static int FindFree()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
