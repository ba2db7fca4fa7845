using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace KvCache.Chaos.Worlds;

/// <summary>Everything on 127.0.0.1, with relays before the data planes: what can be had without root.</summary>
internal sealed class LoopbackNetwork : INetwork
{
    // Below the ports that a kernel gives to outgoing connections, so that a silo finds its ports free when it comes back.
    private const int FirstPort = 12_000, LastPort = 30_000;

    private static readonly ConcurrentDictionary<int, bool> Given = [];

    private readonly Dictionary<(int Node, int Which), int> _ports = [];
    private readonly Dictionary<int, LinkRelay> _relays = [];
    private readonly Lock _lock = new();

    public string Description => "loopback, with relays before the data planes; links between silos and to Redis are not cut";

    public IPAddress AddressOf(int node) => IPAddress.Loopback;

    public int PortOf(int node, int which)
    {
        lock (_lock)
        {
            if (!_ports.TryGetValue((node, which), out var port))
                _ports[(node, which)] = port = FreePort();
            return port;
        }
    }

    public IPEndPoint DataPlaneOf(int silo) => RelayOf(silo).Address;

    public ProcessStartInfo At(int node, ProcessStartInfo command) => command;

    public bool CanCut(int one, int other) => one == Node.Clients || other == Node.Clients;

    public Task CutAsync(int one, int other)
    {
        if (!CanCut(one, other))
            throw new NotSupportedException("Without network namespaces only the link between clients and a silo can be cut.");
        RelayOf(Math.Min(one, other)).Close();
        return Task.CompletedTask;
    }

    public Task SlowAsync(int silo, int bytesPerSecond)
    {
        RelayOf(silo).Slow(bytesPerSecond);
        return Task.CompletedTask;
    }

    public Task ResetAsync(int silo)
    {
        RelayOf(silo).Reset();
        return Task.CompletedTask;
    }

    public Task HealAsync()
    {
        lock (_lock)
        {
            foreach (var relay in _relays.Values)
                relay.Open();
        }

        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        foreach (var relay in _relays.Values)
            relay.Dispose();
        return default;
    }

    private LinkRelay RelayOf(int silo)
    {
        var address = new IPEndPoint(IPAddress.Loopback, PortOf(silo, ChaosSilo.DataPort));
        lock (_lock)
        {
            if (!_relays.TryGetValue(silo, out var relay))
                _relays[silo] = relay = new LinkRelay(address);
            return relay;
        }
    }

    private static int FreePort()
    {
        while (true)
        {
            var port = Random.Shared.Next(FirstPort, LastPort);
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            }
            catch (SocketException)
            {
                continue;
            }

            if (Given.TryAdd(port, true))
                return port;
        }
    }
}
