using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KvCache.Processes;

namespace KvCache.Chaos.Worlds;

/// <summary>A real Redis, without persistence: what it had is gone when it comes back.</summary>
internal sealed class ChaosRedis : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private readonly INetwork _network;
    private readonly int _node;
    private readonly string[] _settings;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-chaos-redis-");
    private ChildProcess? _process;

    public ChaosRedis(INetwork network, int node, params string[] settings) => (_network, _node, _settings) = (network, node, settings);

    /// <summary>Whether there is a redis-server on this machine.</summary>
    public static bool IsInstalled => ProgramCommand.Find("redis-server") is not null;

    public IPEndPoint Address => new(_network.AddressOf(_node), _network.PortOf(_node, 0));

    /// <summary>Starts it, and waits until it answers.</summary>
    public async Task StartAsync()
    {
        if (_process is not null)
            await _process.DisposeAsync().ConfigureAwait(false);
        string[] arguments =
        [
            "--bind", Address.Address.ToString(), "--port", Address.Port.ToString(CultureInfo.InvariantCulture), "--protected-mode", "no",
            "--dir", _folder.FullName, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", .. _settings,
        ];
        _process = ChildProcess.Start(_network.At(_node, ProgramCommand.Of(ProgramCommand.Find("redis-server")!, arguments)));
        await _process.WaitUntilReadyAsync(() => TryCall("PING") as byte[], TimeSpan.FromSeconds(30)).ConfigureAwait(false);
    }

    public async Task KillAsync()
    {
        if (_process is not null)
            await _process.KillAsync().ConfigureAwait(false);
    }

    public void Pause() => _process!.Pause();

    public void Resume() => _process!.Resume();

    /// <summary>Calls a command on a connection of its own.</summary>
    /// <exception cref="SocketException">It is away.</exception>
    /// <exception cref="RespError">It refuses.</exception>
    public object? Call(params object[] words)
    {
        using var link = RespLink.Connect(Address, Limit);
        return link.Call(words);
    }

    /// <summary>A connection for many commands.</summary>
    public RespLink Connect() => RespLink.Connect(Address, Limit);

    public async ValueTask DisposeAsync()
    {
        await KillAsync().ConfigureAwait(false);
        if (_process is not null)
            await _process.DisposeAsync().ConfigureAwait(false);
        _folder.Delete(recursive: true);
    }

    private object? TryCall(params object[] words)
    {
        try
        {
            return Call(words);
        }
        catch (Exception e) when (e is SocketException or RespError)
        {
            return null;
        }
    }
}
