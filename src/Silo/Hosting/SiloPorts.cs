using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KvCache.Silo.Hosting;

/// <summary>Orleans' two ports of a silo.</summary>
/// <param name="Silo">Between silos.</param>
/// <param name="Gateway">For Orleans clients; 0 where there is no gateway.</param>
internal readonly record struct SiloPorts(int Silo, int Gateway)
{
    /// <summary>The word for no gateway.</summary>
    public const string NoGateway = "none";

    /// <summary>Replaces 0 by a free port: Orleans wants to know its ports before it listens.</summary>
    /// <param name="silo">Port between silos.</param>
    /// <param name="gateway">Port for clients, or <c>none</c>.</param>
    /// <exception cref="FormatException">A number is no port.</exception>
    /// <exception cref="IOException">Another process has the port.</exception>
    public static SiloPorts Resolve(int silo, string gateway)
    {
        using var first = Probe(silo, "--silo-port");
        if (gateway == NoGateway)
            return new SiloPorts(Port(first), 0);
        if (!int.TryParse(gateway, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var port))
            throw new FormatException($"--gateway-port is '{gateway}'; a port, 0 for a free one, or '{NoGateway}' was expected.");
        using var second = Probe(port, "--gateway-port");
        return new SiloPorts(Port(first), Port(second));
    }

    // Also for a given port: told here, it is a sentence; in Orleans it is many lines.
    private static Socket Probe(int port, string option)
    {
        if (port is < 0 or > IPEndPoint.MaxPort)
            throw new FormatException($"{option} is {port}; 0 to {IPEndPoint.MaxPort} was expected.");
        var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            probe.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return probe;
        }
        catch (SocketException e)
        {
            probe.Dispose();
            throw new IOException($"{option} is {port}, and that cannot be listened on: {e.Message}. Choose a free port, or 0.", e);
        }
    }

    private static int Port(Socket probe) => ((IPEndPoint)probe.LocalEndPoint!).Port;
}
