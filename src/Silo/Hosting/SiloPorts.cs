using System.Net;
using System.Net.Sockets;

namespace KvCache.Silo;

/// <summary>Orleans' two ports of a silo.</summary>
/// <param name="Silo">Between silos.</param>
/// <param name="Gateway">For Orleans clients.</param>
internal readonly record struct SiloPorts(int Silo, int Gateway)
{
    /// <summary>Replaces 0 by a free port. Orleans wants to know its ports before it listens.</summary>
    public static SiloPorts Resolve(int silo, int gateway)
    {
        using var first = Probe(silo);
        using var second = Probe(gateway);
        return new SiloPorts(Port(first) ?? silo, Port(second) ?? gateway);
    }

    private static Socket? Probe(int port)
    {
        if (port != 0)
            return null;
        var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return probe;
    }

    private static int? Port(Socket? probe) => (probe?.LocalEndPoint as IPEndPoint)?.Port;
}
