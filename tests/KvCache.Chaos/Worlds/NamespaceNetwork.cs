using System.Diagnostics;
using System.Globalization;
using System.Net;
using KvCache.Processes;

namespace KvCache.Chaos.Worlds;

/// <summary>
/// A network namespace for each silo and each Redis, on a bridge of our own: any link can be cut, in both directions, as a broken cable
/// cuts it. Needs root and iproute2.
/// </summary>
/// <remarks>
/// A link is cut by telling either end a wrong hardware address of the other: packets go, and reach nobody. That needs no packet filter,
/// and nothing that is sent fails at once, as it would with a blackhole route.
/// </remarks>
internal sealed class NamespaceNetwork : INetwork
{
    private const string Nowhere = "02:00:00:00:00:01";
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(20);
    private static readonly int[] Ports = [7400, 7480, 7410, 7430, 7420];

    private readonly string _prefix;
    private readonly int _net;
    private readonly List<int> _nodes = [];
    private readonly List<(int At, int Other)> _cuts = [];
    private readonly HashSet<int> _slow = [];

    private NamespaceNetwork(string prefix, int net) => (_prefix, _net) = (prefix, net);

    public string Description => $"network namespaces {_prefix}-* on a bridge, 10.77.{_net}.0/24";

    /// <summary>Whether namespaces can be made here.</summary>
    public static bool IsPossible => Environment.IsPrivilegedProcess && ProgramCommand.Find("ip") is not null;

    /// <summary>Makes the network.</summary>
    /// <returns>Null where the kernel or the container does not allow it.</returns>
    public static async Task<NamespaceNetwork?> TryCreateAsync(int silos)
    {
        if (!IsPossible)
            return null;
        await RemoveLeftAsync().ConfigureAwait(false);
        for (var attempt = 0; attempt < 8; attempt++)
        {
            var network = new NamespaceNetwork($"kvx{Environment.ProcessId}{(char)('a' + attempt)}", Random.Shared.Next(1, 255));
            try
            {
                await network.CreateAsync([.. Enumerable.Range(0, silos), Node.Redis, Node.Replica]).ConfigureAwait(false);
                return network;
            }
            catch (ChildProcessException)
            {
                await network.DisposeAsync().ConfigureAwait(false);
            }
        }

        return null;
    }

    public IPAddress AddressOf(int node) => IPAddress.Parse($"10.77.{_net}.{Host(node)}");

    public int PortOf(int node, int which) => node >= Node.Redis ? 6379 + which : Ports[which];

    public IPEndPoint DataPlaneOf(int silo) => new(AddressOf(silo), PortOf(silo, ChaosSilo.DataPort));

    public ProcessStartInfo At(int node, ProcessStartInfo command)
    {
        var inside = new ProcessStartInfo("ip", ["netns", "exec", Name(node), command.FileName, .. command.ArgumentList])
        {
            WorkingDirectory = command.WorkingDirectory,
        };
        inside.Environment.Clear();
        foreach (var (name, value) in command.Environment)
            inside.Environment[name] = value;
        return inside;
    }

    public bool CanCut(int one, int other) => true;

    public async Task CutAsync(int one, int other)
    {
        await DeafenAsync(one, other).ConfigureAwait(false);
        await DeafenAsync(other, one).ConfigureAwait(false);
    }

    public async Task SlowAsync(int silo, int bytesPerSecond)
    {
        _slow.Add(silo);
        var rate = string.Create(CultureInfo.InvariantCulture, $"{bytesPerSecond * 8L}bit");
        await IpAsync("tc", "-n", Name(silo), "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "64kb", "latency",
            "400ms")
            .ConfigureAwait(false);
    }

    public Task ResetAsync(int silo) => IpAsync(
        "ip", "netns", "exec", Name(silo), "ss", "-K", "state", "established", "sport", "=",
        PortOf(silo, ChaosSilo.DataPort).ToString(CultureInfo.InvariantCulture));

    public async Task HealAsync()
    {
        foreach (var (at, other) in _cuts)
            await NeighbourAsync(at, "del", AddressOf(other).ToString(), "dev", Device(at)).ConfigureAwait(false);
        _cuts.Clear();
        foreach (var silo in _slow)
            await IpAsync("tc", "-n", Name(silo), "qdisc", "del", "dev", "eth0", "root").ConfigureAwait(false);
        _slow.Clear();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var node in _nodes)
            await TryAsync("netns", "del", Name(node)).ConfigureAwait(false);
        await TryAsync("link", "del", _prefix).ConfigureAwait(false);
    }

    private static int Host(int node) => node switch
    {
        Node.Redis => 100,
        Node.Replica => 101,
        Node.Clients => 254,
        _ => node + 1,
    };

    private string Name(int node) => $"{_prefix}-{Host(node)}";

    private string Device(int node) => node == Node.Clients ? _prefix : "eth0";

    private async Task CreateAsync(int[] nodes)
    {
        await IpAsync("ip", "link", "add", _prefix, "type", "bridge").ConfigureAwait(false);
        await IpAsync("ip", "addr", "add", $"{AddressOf(Node.Clients)}/24", "dev", _prefix).ConfigureAwait(false);
        await IpAsync("ip", "link", "set", _prefix, "up").ConfigureAwait(false);
        foreach (var node in nodes)
        {
            _nodes.Add(node);
            var name = Name(node);
            await IpAsync("ip", "netns", "add", name).ConfigureAwait(false);
            await IpAsync("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name).ConfigureAwait(false);
            await IpAsync("ip", "link", "set", name, "master", _prefix, "up").ConfigureAwait(false);
            await IpAsync("ip", "-n", name, "addr", "add", $"{AddressOf(node)}/24", "dev", "eth0").ConfigureAwait(false);
            await IpAsync("ip", "-n", name, "link", "set", "eth0", "up").ConfigureAwait(false);
            await IpAsync("ip", "-n", name, "link", "set", "lo", "up").ConfigureAwait(false);
        }
    }

    private async Task DeafenAsync(int at, int other)
    {
        await NeighbourAsync(at, "replace", AddressOf(other).ToString(), "lladdr", Nowhere, "dev", Device(at), "nud", "permanent")
            .ConfigureAwait(false);
        _cuts.Add((at, other));
    }

    private Task NeighbourAsync(int at, params string[] words) =>
        at == Node.Clients ? IpAsync("ip", ["neigh", .. words]) : IpAsync("ip", ["-n", Name(at), "neigh", .. words]);

    // What a harness that was killed has left behind.
    private static async Task RemoveLeftAsync()
    {
        var namespaces = await ProgramResult.RunAsync(ProgramCommand.Of("ip", ["netns", "list"]), Bound).ConfigureAwait(false);
        foreach (var name in namespaces.Output.Split('\n').Select(line => line.Split(' ')[0]).Where(IsLeft))
            await TryAsync("netns", "del", name).ConfigureAwait(false);
        var links = await ProgramResult.RunAsync(ProgramCommand.Of("ip", ["-br", "link", "show", "type", "bridge"]), Bound)
            .ConfigureAwait(false);
        foreach (var name in links.Output.Split('\n').Select(line => line.Split(' ')[0]).Where(IsLeft))
            await TryAsync("link", "del", name).ConfigureAwait(false);
    }

    private static bool IsLeft(string name) =>
        name.StartsWith("kvx", StringComparison.Ordinal)
        && int.TryParse(new string([.. name.Skip(3).TakeWhile(char.IsAsciiDigit)]), CultureInfo.InvariantCulture, out var process)
        && !Directory.Exists($"/proc/{process}");

    private static async Task IpAsync(string program, params string[] words)
    {
        var result = await ProgramResult.RunAsync(ProgramCommand.Of(program, words), Bound).ConfigureAwait(false);
        if (result.ExitCode != 0)
            throw new ChildProcessException($"{program} {string.Join(' ', words)} ended with {result.ExitCode}: {result.Errors}");
    }

    private static Task<ProgramResult> TryAsync(params string[] words) => ProgramResult.RunAsync(ProgramCommand.Of("ip", words), Bound);
}
