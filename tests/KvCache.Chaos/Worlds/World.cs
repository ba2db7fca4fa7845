using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KvCache.Client;

namespace KvCache.Chaos.Worlds;

/// <summary>Silos, a Redis and the network between them.</summary>
internal sealed class World : IAsyncDisposable
{
    /// <summary>Tenant of the load.</summary>
    public const string Tenant = "chaos";

    private const string Secret = "the secret of the load";
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(90);

    private World(INetwork network, ChaosRedis redis, ChaosRedis? replica, ChaosSentinels? sentinels, ChaosSilo[] silos)
    {
        (Network, Redis, Replica, Sentinels, Silos) = (network, redis, replica, sentinels, silos);
    }

    public INetwork Network { get; }

    /// <summary>The Redis; with sentinels the one that was the master first.</summary>
    public ChaosRedis Redis { get; }

    /// <summary>Its replica, where there are sentinels.</summary>
    public ChaosRedis? Replica { get; }

    public ChaosSentinels? Sentinels { get; }

    public ChaosSilo[] Silos { get; }

    /// <summary>Data planes, as clients name them.</summary>
    public IEnumerable<string> Endpoints => Silos.Select(silo => silo.Endpoint);

    /// <summary>Makes a world and waits until it is at rest.</summary>
    /// <param name="silos">How many silos.</param>
    /// <param name="arena">Size of the arena of each.</param>
    /// <param name="withSentinels">Whether sentinels watch the Redis and a replica of it.</param>
    /// <param name="mayUseNamespaces">Whether each silo gets a network namespace of its own, where that can be.</param>
    /// <param name="log">Receives the lines that silos log.</param>
    public static async Task<World> StartAsync(
        int silos, ByteSize arena, bool withSentinels, bool mayUseNamespaces, Action<int, string> log)
    {
        INetwork network = (mayUseNamespaces ? await NamespaceNetwork.TryCreateAsync(silos).ConfigureAwait(false) : null)
            ?? (INetwork)new LoopbackNetwork();
        var redis = new ChaosRedis(network, Node.Redis);
        await redis.StartAsync().ConfigureAwait(false);
        ChaosRedis? replica = null;
        ChaosSentinels? sentinels = null;
        var connection = redis.Address.ToString();
        if (withSentinels)
        {
            replica = new ChaosRedis(
                network, Node.Replica, "--replicaof", redis.Address.Address.ToString(),
                redis.Address.Port.ToString(CultureInfo.InvariantCulture));
            await replica.StartAsync().ConfigureAwait(false);
            sentinels = new ChaosSentinels(network, redis);
            connection = $"{sentinels.Addresses},sentinel={ChaosSentinels.Name}";
            await UntilAsync("the sentinels know each other", () => Task.FromResult(sentinels.AreSettled), StartLimit).ConfigureAwait(
                false);
        }

        var settings = new ChaosSiloSettings(arena, connection, new Dictionary<string, string> { [Tenant] = Secret }, log);
        var world = new World(
            network, redis, replica, sentinels, [.. Enumerable.Range(0, silos).Select(i => new ChaosSilo(i, network, settings))]);
        try
        {
            foreach (var silo in world.Silos)
                silo.Start();
            if (await world.SettledAsync(StartLimit).ConfigureAwait(false) is null)
                throw new TimeoutException($"{silos} silos did not find each other within {StartLimit.TotalSeconds:0} s.");
            return world;
        }
        catch
        {
            await world.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Waits until every silo is ready and can ask all others for blocks; one that has ended by itself is started
    /// again.</summary>
    /// <returns>How long it took, or null when it did not come to that.</returns>
    public async Task<TimeSpan?> SettledAsync(TimeSpan limit)
    {
        var began = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(began) < limit)
        {
            foreach (var silo in Silos)
                silo.Supervise();
            var states = await Task.WhenAll(Silos.Select(StateOfAsync)).ConfigureAwait(false);
            if (states.All(state => state == "settled"))
                return Stopwatch.GetElapsedTime(began);
            await Task.Delay(50).ConfigureAwait(false);
        }

        return null;
    }

    /// <summary>What is not as it should be, for the report.</summary>
    public async Task<string> ProblemsAsync() =>
        string.Join("; ", (await Task.WhenAll(Silos.Select(async silo =>
            $"silo {silo.Number}: {await StateOfAsync(silo).ConfigureAwait(false)}"))
            .ConfigureAwait(false)).Where(text => !text.EndsWith("settled", StringComparison.Ordinal)));

    /// <summary>A client that prefers one silo and knows all.</summary>
    public KvCacheClient Connect(int home)
    {
        var options = new KvCacheClientOptions
        {
            Tenant = Tenant,
            Secret = Secret,
            MatchTimeout = TimeSpan.FromSeconds(2),
            LoadTimeout = TimeSpan.FromSeconds(6),
            StoreTimeout = TimeSpan.FromSeconds(8),
            SiloPatience = TimeSpan.FromSeconds(1),
            BreakerDelay = TimeSpan.FromMilliseconds(200),
        };
        for (var i = 0; i < Silos.Length; i++)
            options.Endpoints.Add(Silos[(home + i) % Silos.Length].Endpoint);
        return new KvCacheClient(options);
    }

    /// <summary>Logs into the Redis endpoint of a silo.</summary>
    /// <exception cref="System.Net.Sockets.SocketException">It is away.</exception>
    public RespLink ConnectResp(int silo, TimeSpan limit)
    {
        var link = RespLink.Connect(System.Net.IPEndPoint.Parse(Silos[silo].At(ChaosSilo.RespPort)), limit);
        try
        {
            link.Call("AUTH", Tenant, Secret);
            return link;
        }
        catch
        {
            link.Dispose();
            throw;
        }
    }

    /// <summary>A client of the HTTP API of a silo.</summary>
    public HttpClient ConnectHttp(int silo, TimeSpan limit)
    {
        var http = new HttpClient { BaseAddress = new Uri($"http://{Silos[silo].At(ChaosSilo.HttpPort)}"), Timeout = limit };
        http.DefaultRequestHeaders.Authorization = new System.Net.Http.Headers.AuthenticationHeaderValue("Bearer", Secret);
        return http;
    }

    /// <summary>Waits for a condition.</summary>
    /// <exception cref="TimeoutException">It did not come.</exception>
    public static async Task<TimeSpan> UntilAsync(string what, Func<Task<bool>> condition, TimeSpan limit)
    {
        var began = Stopwatch.GetTimestamp();
        while (!await condition().ConfigureAwait(false))
        {
            if (Stopwatch.GetElapsedTime(began) > limit)
                throw new TimeoutException($"Waited {limit.TotalSeconds:0} s, and still it is not so that {what}.");
            await Task.Delay(20).ConfigureAwait(false);
        }

        return Stopwatch.GetElapsedTime(began);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in Silos)
            await silo.DisposeAsync().ConfigureAwait(false);
        if (Sentinels is not null)
            await Sentinels.DisposeAsync().ConfigureAwait(false);
        if (Replica is not null)
            await Replica.DisposeAsync().ConfigureAwait(false);
        await Redis.DisposeAsync().ConfigureAwait(false);
        await Network.DisposeAsync().ConfigureAwait(false);
    }

    private async Task<string> StateOfAsync(ChaosSilo silo)
    {
        if (!silo.IsAlive)
            return "ended";
        if (await silo.GetAsync("/readyz").ConfigureAwait(false) is not { } answer)
            return "does not answer";
        try
        {
            using var readiness = JsonDocument.Parse(answer);
            var root = readiness.RootElement;
            return root.GetProperty("ready").GetBoolean() && root.GetProperty("peers").GetInt32() == Silos.Length - 1
                && root.GetProperty("redis").GetProperty("available").GetBoolean()
                ? "settled"
                : answer;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return answer;
        }
    }
}
