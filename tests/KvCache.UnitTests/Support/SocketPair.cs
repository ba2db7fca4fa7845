using System.Net;
using System.Net.Sockets;

namespace KvCache.UnitTests.Support;

/// <summary>Two connected stream sockets over loopback.</summary>
internal sealed class SocketPair : IDisposable
{
    public SocketPair()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Here = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        Here.Connect(listener.LocalEndPoint!);
        There = listener.Accept();

        // A reader that waits for bytes that never come is a failure, not a hang.
        Here.ReceiveTimeout = There.ReceiveTimeout = 10_000;
    }

    public Socket Here { get; }

    public Socket There { get; }

    public void Dispose()
    {
        Here.Dispose();
        There.Dispose();
    }
}
