using System.Globalization;
using KvCache.Client;
using KvCache.Silo.Hosting;

namespace KvCache.Notebook;

/// <summary>A silo for a part of the notebook: one that runs already, or a process of its own that ends with this object.</summary>
public sealed class NotebookSilo : IAsyncDisposable
{
    /// <summary>Environment variable with the data-plane address of a silo that runs, <c>tcp:host:port</c> or <c>unix:/path</c>.</summary>
    public const string EndpointVariable = "KVCACHE_ENDPOINT";

    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);

    private readonly SiloChild? _process;
    private readonly string? _http;

    private NotebookSilo(string endpoint, SiloChild? process, string? http) => (Endpoint, _process, _http) = (endpoint, process, http);

    /// <summary>Data-plane address.</summary>
    public string Endpoint { get; }

    /// <summary>The silo that <see cref="EndpointVariable"/> names, else a new one.</summary>
    public static async Task<NotebookSilo> FindOrStartAsync() =>
        Environment.GetEnvironmentVariable(EndpointVariable) is { Length: > 0 } endpoint
            ? new NotebookSilo(endpoint, null, null)
            : await StartAsync();

    /// <summary>Starts a silo.</summary>
    /// <param name="arena">Size of its memory for blocks.</param>
    /// <param name="redis">The Redis behind it; null for none.</param>
    public static async Task<NotebookSilo> StartAsync(string arena = "64MiB", NotebookRedis? redis = null)
    {
        string[] arguments = redis is null ? [] : ["--redis", redis.Configuration];
        var process = SiloChild.Start(new SiloSettings(Arena: arena, Arguments: arguments));
        try
        {
            var ready = await process.WaitUntilReadyAsync(ReadyFile.TryRead, StartLimit);
            var endpoint = ready.Endpoints.First(address => address.StartsWith("unix", StringComparison.Ordinal));
            return new NotebookSilo(endpoint, process, ready.Http);
        }
        catch
        {
            await process.DisposeAsync();
            throw;
        }
    }

    /// <summary>A client of the silo. Its limits are wide, as a lesson is no place for a missed deadline.</summary>
    public KvCacheClient Connect() => Connect(Endpoint);

    /// <summary>A client of several silos, the first one preferred.</summary>
    /// <param name="endpoints">Data-plane addresses.</param>
    public static KvCacheClient Connect(params IEnumerable<string> endpoints)
    {
        var options = new KvCacheClientOptions
        {
            MatchTimeout = TimeSpan.FromSeconds(5),
            LoadTimeout = TimeSpan.FromSeconds(5),
            StoreTimeout = TimeSpan.FromSeconds(5),
        };
        foreach (var endpoint in endpoints)
            options.Endpoints.Add(endpoint);
        return new KvCacheClient(options);
    }

    /// <summary>What one of the silo's own figures says now (<c>/metrics</c>, in the form of Prometheus).</summary>
    /// <param name="name">Name of the figure.</param>
    /// <param name="label">Text that its labels have, as in <c>outcome="Persisted"</c>; empty for any.</param>
    /// <returns>The sum over all labels that have the text; 0 while there is none.</returns>
    /// <exception cref="InvalidOperationException">The silo is not one that was started here.</exception>
    public async Task<double> ReadMetricAsync(string name, string label = "")
    {
        if (_http is null)
            throw new InvalidOperationException(
                $"The silo that {EndpointVariable} names has figures too, but its HTTP address is not known here.");
        using var http = new HttpClient();
        var lines = (await http.GetStringAsync($"{_http}/metrics")).Split('\n');
        return lines
            .Where(line => line.StartsWith(name + "{", StringComparison.Ordinal) || line.StartsWith(name + " ", StringComparison.Ordinal))
            .Where(line => line.Contains(label, StringComparison.Ordinal))
            .Sum(line => double.Parse(line[(line.LastIndexOf('}') + 1)..].Replace(name, "", StringComparison.Ordinal).Trim().Split(' ')[0],
                CultureInfo.InvariantCulture));
    }

    /// <summary>Waits until Redis has what was stored as persisted.</summary>
    /// <param name="blocks">Blocks that it is to have taken.</param>
    public Task WaitUntilPersistedAsync(int blocks) => Wait.UntilAsync(
        "Redis has the blocks", async () => await ReadMetricAsync("kvcache_redis_persist_blocks_total", "outcome=\"Persisted\"") >= blocks);

    /// <summary>Ends the silo as a crash does.</summary>
    public Task KillAsync() => _process?.Process.KillAsync() ?? Task.CompletedTask;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _process?.DisposeAsync() ?? default;
}
