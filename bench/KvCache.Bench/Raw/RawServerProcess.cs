using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using KvCache.Bench.Processes;

namespace KvCache.Bench.Raw;

/// <summary>The raw server, in a process of its own: two threads of one process would share address space and page tables.</summary>
internal sealed class RawServerProcess : IDisposable
{
    private readonly OwnServer _server;
    private readonly EndPoint _tcp;
    private readonly EndPoint _unix;
    private readonly EndPoint _tls;

    private RawServerProcess(long memoryBytes)
    {
        _server = OwnServer.Start("raw-server", ["--memory", memoryBytes.ToString(CultureInfo.InvariantCulture)]);
        _tcp = new IPEndPoint(IPAddress.Loopback, int.Parse(_server.Addresses[0], CultureInfo.InvariantCulture));
        _unix = new UnixDomainSocketEndPoint(_server.Addresses[1]);
        _tls = new IPEndPoint(IPAddress.Loopback, int.Parse(_server.Addresses[2], CultureInfo.InvariantCulture));
    }

    /// <param name="memoryBytes">Memory that puts fill in turn, no less than the largest request.</param>
    public static RawServerProcess Start(long memoryBytes) => new(memoryBytes);

    /// <summary>Connects with both ends tuned.</summary>
    public Socket Connect(RawTransport transport, SocketTuning tuning)
    {
        var (socket, address) = transport is RawTransport.Tcp
            ? (new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp), _tcp)
            : (new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), _unix);
        tuning.Apply(socket);
        socket.Connect(address);
        socket.SendRequest(new RawRequest(RawOperation.Tune, tuning.Reno ? 1 : 0, tuning.BufferBytes));
        socket.ReceiveAck();
        return socket;
    }

    /// <summary>Connects with TLS, and with what the kernel chooses.</summary>
    public SslStream ConnectTls()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.Connect(_tls);
        return RawTls.Connect(socket);
    }

    public void Dispose() => _server.Dispose();
}
