using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using KvCache.Client;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.Testing;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>
/// Silos that form a cluster, each a process of its own: with a Redis the list of members is there, without one the first silo keeps it and
/// has to stay.
/// </summary>
internal sealed class SiloCluster : IAsyncDisposable
{
    // Below the ports that a kernel gives to outgoing connections, so that a silo finds its ports free when it comes back.
    private const int FirstPort = 12_000, LastPort = 30_000;

    private const string Secret = "a secret of the cluster's silos";

    private static readonly System.Collections.Concurrent.ConcurrentDictionary<int, bool> Given = [];

    private readonly SiloSettings[] _settings;
    private readonly SiloProcess?[] _silos;
    private readonly List<SiloProcess> _gone = [];

    private SiloCluster(int silos, RedisProcess? redis, SiloSettings common)
    {
        _silos = new SiloProcess?[silos];
        var ports = FreePorts(2 * silos);
        _settings = [.. Enumerable.Range(0, silos).Select(i => common with
        {
            Tcp = $"127.0.0.1:{ports[2 * i]}",
            SiloPort = ports[(2 * i) + 1],
            UseUnix = false,
            Settings = SettingsOf(common.Settings, i),
            Arguments = [.. (common.Arguments ?? []).Select(text => text.Replace("{silo}", $"{i}", StringComparison.Ordinal)), "--cluster",
                redis is null
                ? "localhost"
                : "redis", .. redis is null ? i == 0 ? [] : ["--primary", $"{ports[1]}"] : (string[])["--redis", redis.Tcp]],
        })];
    }

    /// <summary>Silos of the cluster, dead ones included.</summary>
    public int Count => _silos.Length;

    /// <summary>The silos that live.</summary>
    public IEnumerable<int> Living => Enumerable.Range(0, Count).Where(i => _silos[i] is { HasExited: false });

    /// <summary>A silo of the cluster.</summary>
    public SiloProcess this[int silo] => _silos[silo]!;

    /// <summary>Starts silos, and waits until each of them can be asked for the blocks of all others.</summary>
    /// <param name="silos">How many.</param>
    /// <param name="redis">Keeps the list of members, and persisted blocks; null for a cluster without one.</param>
    /// <param name="settings">What all silos have in common; <c>{silo}</c> in a value or an argument is the number of the silo.</param>
    public static async Task<SiloCluster> StartAsync(int silos, RedisProcess? redis = null, SiloSettings? settings = null)
    {
        var cluster = new SiloCluster(silos, redis, settings ?? new SiloSettings());
        try
        {
            await cluster.StartAsync(0);
            await Task.WhenAll(Enumerable.Range(1, silos - 1).Select(cluster.StartAsync));
            await cluster.AllSeeAllAsync();
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a silo that is gone, with the ports that it had.</summary>
    public async Task StartAsync(int silo)
    {
        if (_silos[silo] is { } old)
            _gone.Add(old);
        _silos[silo] = null;
        _silos[silo] = await SiloProcess.StartAsync(_settings[silo]);
    }

    /// <summary>Waits until every living silo can ask every other one for its blocks, and knows of no dead one.</summary>
    public Task<TimeSpan> AllSeeAllAsync()
    {
        var living = Living.ToArray();
        return Eventually.TrueAsync($"{living.Length} silos see each other", async () =>
        {
            foreach (var silo in living)
            {
                if (await PeersAsync(silo) != living.Length - 1)
                    return false;
            }

            return true;
        });
    }

    /// <summary>Waits until Orleans takes a number of silos for alive, as every living silo sees it.</summary>
    public Task<TimeSpan> AllCountAsync(int members, string what) => Eventually.TrueAsync(what, async () =>
    {
        foreach (var silo in Living)
        {
            if (await MetricAsync(silo, "kvcache_cluster_members") != members)
                return false;
        }

        return true;
    });

    /// <summary>Other silos that a silo can ask for blocks.</summary>
    public async Task<int> PeersAsync(int silo) => (await ReadinessAsync(silo)).GetProperty("peers").GetInt32();

    /// <summary>What <c>/readyz</c> of a silo says.</summary>
    public async Task<JsonElement> ReadinessAsync(int silo)
    {
        using var document = JsonDocument.Parse(await GetAsync(silo, "/readyz"));
        return document.RootElement.Clone();
    }

    /// <summary>A metric of a silo; see <see cref="Metrics.Value"/>.</summary>
    public async Task<double> MetricAsync(int silo, string name, string label = "") =>
        Metrics.Value(await GetAsync(silo, "/metrics"), name, label);

    /// <summary>A client of one silo.</summary>
    public KvCacheClient Connect(int silo, Action<KvCacheClientOptions>? configure = null) => this[silo].Connect(configure: configure);

    /// <summary>Settings of a client with a deadline that tests of failures reach, and which comes back soon to a silo that
    /// failed.</summary>
    public static Action<KvCacheClientOptions> Within(TimeSpan deadline) => options =>
    {
        options.MatchTimeout = options.LoadTimeout = options.StoreTimeout = deadline;
        options.BreakerDelay = TimeSpan.FromMilliseconds(50);
    };

    /// <summary>Clients with a deadline, one for each silo named.</summary>
    public IEnumerable<KvCacheClient> ConnectAll(TimeSpan deadline, params int[] silos) =>
        silos.Select(silo => Connect(silo, Within(deadline)));

    /// <summary>Clients that prefer one silo each, know all of them, and have a deadline.</summary>
    public IEnumerable<KvCacheClient> ConnectEverywhere(TimeSpan deadline, int clients) =>
        Enumerable.Range(0, clients).Select(client => Connect(client % Count, options =>
    {
        Within(deadline)(options);
        for (var i = 1; i < Count; i++)
            options.Endpoints.Add($"tcp:{_settings[(client + i) % Count].Tcp}");
    }));

    /// <summary>Copies of blocks of a prefix on all silos that live.</summary>
    public int Copies(KvPrefix prefix) => Living.Sum(silo => BlocksAt(silo, prefix));

    /// <summary>Blocks of a prefix that a silo itself holds, counted from the first up to the first that it does not hold.</summary>
    public int BlocksAt(int silo, KvPrefix prefix)
    {
        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(this[silo].Tcp)!, prefix.Namespace.Tenant, "");
        var layer = new LayerRange(0, 1);
        var memory = Enumerable.Range(0, prefix.BlockCount).Select(_ => (Memory<byte>)new byte[prefix.Namespace.Layout.RangeBytes(layer)])
            .ToArray();
        var blocks = 0;
        connection.Get(prefix.Namespace, prefix.Chain.Hashes, layer, memory, 0, localOnly: true, ref blocks);
        return blocks;
    }

    /// <summary>Fails when a living silo logged an error.</summary>
    public void AssertHealthy()
    {
        foreach (var silo in Living)
            this[silo].AssertHealthy(lostOthers: _gone.Count > 0 || Living.Count() < Count);
    }

    /// <summary>Writes what the silos have logged so far to the output of the test: for tests that share a cluster.</summary>
    public void WriteLogs()
    {
        foreach (var silo in _silos.OfType<SiloProcess>())
            silo.WriteLog();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in _silos.OfType<SiloProcess>().Concat(_gone).Reverse())
            await silo.DisposeAsync();
    }

    public async Task<string> GetAsync(int silo, string path)
    {
        using var http = new HttpClient { BaseAddress = new Uri(this[silo].Ready.Http), Timeout = Eventually.Bound };
        using var answer = await http.GetAsync(new Uri(path, UriKind.Relative));
        return await answer.Content.ReadAsStringAsync();
    }

    // {silo} in a value stands for the silo's number.
    private static Dictionary<string, string> SettingsOf(IReadOnlyDictionary<string, string>? common, int silo)
    {
        var all = (common ?? new Dictionary<string, string>()).ToDictionary(
            setting => setting.Key, setting => setting.Value.Replace("{silo}", $"{silo}", StringComparison.Ordinal));
        all["KvCache:Accounts:ShowLoopback"] = "true";
        if (!all.ContainsKey("KvCache:Cluster:SecretFile"))
            all["KvCache:Cluster:Secret"] = Secret;
        return all;
    }

    private static List<int> FreePorts(int count)
    {
        var ports = new List<int>();
        while (ports.Count < count)
        {
            var port = Random.Shared.Next(FirstPort, LastPort);
            if (IsFree(port) && Given.TryAdd(port, true)) // clusters of other tests start at the same time
                ports.Add(port);
        }

        return ports;
    }

    private static bool IsFree(int port)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
