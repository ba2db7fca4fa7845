using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.Processes;

namespace KvCache.Chaos.Worlds;

/// <summary>Real sentinels, which watch a Redis and its replica and make the replica the master when it has to be.</summary>
internal sealed class ChaosSentinels : IAsyncDisposable
{
    /// <summary>Name of the master.</summary>
    public const string Name = "mymaster";

    private const int Count = 2;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-chaos-sentinel-");
    private readonly List<(ChildProcess Process, IPEndPoint Address)> _sentinels = [];

    public ChaosSentinels(INetwork network, ChaosRedis master)
    {
        for (var i = 0; i < Count; i++)
        {
            var node = i == 0 ? Node.Redis : Node.Replica;
            var address = new IPEndPoint(network.AddressOf(node), network.PortOf(node, 1));
            var file = Path.Combine(_folder.FullName, $"{i}.conf");
            File.WriteAllText(file, string.Create(CultureInfo.InvariantCulture, $"""
                bind {address.Address}
                port {address.Port}
                protected-mode no
                dir {_folder.FullName}
                sentinel monitor {Name} {master.Address.Address} {master.Address.Port} {Count}
                sentinel down-after-milliseconds {Name} 1000
                sentinel failover-timeout {Name} 3000

                """));
            _sentinels.Add(
                (ChildProcess.Start(network.At(node, ProgramCommand.Of(ProgramCommand.Find("redis-sentinel")!, [file]))), address));
        }
    }

    public static bool IsInstalled => ProgramCommand.Find("redis-sentinel") is not null;

    /// <summary>As it is written in a connection string.</summary>
    public string Addresses => string.Join(';', _sentinels.Select(sentinel => sentinel.Address));

    /// <summary>Whether each of them knows the others and the replica.</summary>
    public bool AreSettled => _sentinels.TrueForAll(sentinel => Ask(sentinel.Address, "INFO", "sentinel") is byte[] info
        && Encoding.ASCII.GetString(info) is var text && text.Contains("slaves=1", StringComparison.Ordinal)
        && text.Contains($"sentinels={Count}", StringComparison.Ordinal));

    /// <summary>The port of the master, as the first of them knows it; null while none answers.</summary>
    public IPEndPoint? Master => Ask(_sentinels[^1].Address, "SENTINEL", "get-master-addr-by-name", Name) is object?[] and [byte[] host,
        byte[] port]
        ? new IPEndPoint(IPAddress.Parse(Encoding.ASCII.GetString(host)), int.Parse(Encoding.ASCII.GetString(port),
            CultureInfo.InvariantCulture))
        : null;

    public async ValueTask DisposeAsync()
    {
        foreach (var (process, _) in _sentinels)
        {
            await process.KillAsync().ConfigureAwait(false);
            await process.DisposeAsync().ConfigureAwait(false);
        }

        _folder.Delete(recursive: true);
    }

    private static object? Ask(IPEndPoint address, params object[] words)
    {
        try
        {
            using var link = RespLink.Connect(address, TimeSpan.FromSeconds(2));
            return link.Call(words);
        }
        catch (Exception e) when (e is SocketException or RespError)
        {
            return null; // it is still starting
        }
    }
}
