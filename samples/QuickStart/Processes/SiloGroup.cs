using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using KvCache.Engine.Storage;
using KvCache.Processes;
using KvCache.Silo.Hosting;

namespace KvCache.QuickStart.Processes;

/// <summary>One silo, or several that form a cluster: the first keeps the list of members.</summary>
/// <param name="folder">Folder for their files.</param>
/// <param name="tenants">Secrets of the tenants by name.</param>
/// <param name="transport">How nodes reach them: tcp or unix.</param>
/// <param name="say">Is told what happens.</param>
internal sealed class SiloGroup(string folder, IReadOnlyDictionary<string, string> tenants, string transport, Action<string> say)
    : IAsyncDisposable
{
    /// <summary>Most silos of a group: more than a machine for a demonstration has cores.</summary>
    public const int Most = 8;

    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(45);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    private readonly string _secret = Convert.ToHexString(RandomNumberGenerator.GetBytes(16));
    private readonly HttpClient _http = new();
    private readonly List<SiloChild> _silos = [];
    private readonly List<ReadyFile> _ready = [];

    /// <summary>Silos that were started.</summary>
    public int Count => _silos.Count;

    /// <summary>The silos that still run.</summary>
    public IEnumerable<ReadyFile> Running => _ready.Where((_, i) => !_silos[i].Process.HasExited);

    /// <summary>Memory that they occupy together, in bytes.</summary>
    public long MemoryBytes => _silos.Sum(silo => silo.Process.ResidentBytes);

    /// <summary>Data-plane address of a silo.</summary>
    public string EndpointOf(int silo) => _ready[silo].Endpoints.First(address => address.StartsWith(transport, StringComparison.Ordinal));

    /// <summary>Starts silos, and waits until each knows all others.</summary>
    /// <exception cref="ChildProcessException">One of them does not start.</exception>
    public async Task StartAsync(int silos, CancellationToken cancellationToken)
    {
        say(silos == 1 ? "Silo: starting" : $"{silos} silos: starting");
        for (var i = 0; i < silos; i++)
        {
            _silos.Add(SiloChild.Start(new SiloSettings(
                Arena: "256MiB",
                Settings: new Dictionary<string, string>(
                    tenants.Select(tenant => KeyValuePair.Create($"KvCache:Tenants:{tenant.Key}:Secret", tenant.Value)))
                {
                    ["KvCache:Cluster:Secret"] = _secret,
                    ["KvCache:Accounts:ShowLoopback"] = "true", // it tells what the silos have
                },
                Folder: Directory.CreateDirectory(Path.Combine(folder, i.ToString(CultureInfo.InvariantCulture))).FullName,
                Arguments: silos == 1
                    ? []
                    : ["--cluster", "localhost", .. i == 0
                        ? []
                        : (string[])["--primary", _ready[0].SiloPort.ToString(CultureInfo.InvariantCulture)]])));
            if (i == 0)
                _ready.Add(await _silos[0].WaitUntilReadyAsync(ReadyFile.TryRead, StartLimit, cancellationToken));
        }

        for (var i = 1; i < silos; i++)
            _ready.Add(await _silos[i].WaitUntilReadyAsync(ReadyFile.TryRead, StartLimit, cancellationToken));
        for (var i = 0; i < silos; i++)
        {
            var ready = _ready[i];
            await UntilAsync(
                "the silos know each other", async () => await PeersAsync(ready, cancellationToken) == silos - 1, cancellationToken);
            say($"{Name(i)}: process {ready.ProcessId} serves at {EndpointOf(i)}");
        }
    }

    /// <summary>Waits until the other silos have as many blocks as a silo has.</summary>
    public Task WaitForCopiesAsync(int silo, CancellationToken cancellationToken) => UntilAsync(
        "other silos have copies",
        async () =>
        {
            var blocks = await Task.WhenAll(_ready.Select(ready => BlocksAsync(ready, cancellationToken)));
            return blocks[silo] > 0 && blocks.Sum() >= 2 * blocks[silo];
        },
        cancellationToken);

    /// <summary>Ends a silo as a crash would.</summary>
    public async Task KillAsync(int silo)
    {
        await _silos[silo].Process.KillAsync();
        say($"{Name(silo)}: killed (SIGKILL); the prompt was stored through it");
    }

    /// <summary>Waits until every silo has ended.</summary>
    public Task WaitAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(_silos.Select(silo => silo.Process.WaitAsync(cancellationToken)));

    /// <summary>Asks the silos to end.</summary>
    /// <returns>Whether all did so by themselves.</returns>
    public async Task<bool> StopAsync()
    {
        var politely = true;
        foreach (var silo in Enumerable.Reverse(_silos)) // the first keeps the list of members
            politely &= await silo.Process.StopAsync();
        return politely;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in Enumerable.Reverse(_silos))
            await silo.DisposeAsync();
        _http.Dispose();
    }

    private async Task<int> PeersAsync(ReadyFile ready, CancellationToken cancellationToken)
    {
        using var readiness = JsonDocument.Parse(await _http.GetStringAsync($"{ready.Http}/readyz", cancellationToken));
        return readiness.RootElement.GetProperty("peers").GetInt32();
    }

    private async Task<long> BlocksAsync(ReadyFile ready, CancellationToken cancellationToken)
    {
        var metrics = await _http.GetStringAsync($"{ready.Http}/metrics", cancellationToken);
        var line = metrics.Split('\n').First(text => text.StartsWith("kvcache_store_blocks", StringComparison.Ordinal));
        return long.Parse(line[(line.LastIndexOf('}') + 1)..].Trim().Split(' ')[0], CultureInfo.InvariantCulture);
    }

    private static async Task UntilAsync(string what, Func<Task<bool>> condition, CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(began) > StartLimit)
                throw new ChildProcessException($"Waited {StartLimit.TotalSeconds:F0} s, and still it is not so that {what}.");
            await Task.Delay(Interval, cancellationToken);
        }
    }

    private string Name(int silo) => Count == 1 ? "Silo" : $"Silo {silo + 1}";
}
