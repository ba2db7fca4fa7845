using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using KvCache.Processes;

namespace KvCache.Chaos.Worlds;

/// <summary>How the silos of a run are started.</summary>
/// <param name="Arena">Bytes of each arena.</param>
/// <param name="Redis">Connection string of Redis.</param>
/// <param name="Secrets">Tenants, and their secrets.</param>
/// <param name="Log">Receives the lines of a silo.</param>
internal sealed record ChaosSiloSettings(
    ByteSize Arena, string Redis, IReadOnlyDictionary<string, string> Secrets, Action<int, string> Log);

/// <summary>A real silo: it can be ended, frozen and started again at its address.</summary>
internal sealed class ChaosSilo : IAsyncDisposable
{
    /// <summary>Ports of a silo, for <see cref="INetwork.PortOf"/>.</summary>
    public const int DataPort = 0, HttpPort = 1, SiloPort = 2, RespPort = 3, LmPort = 4;

    private const string ScrapeToken = "the token of who only looks";
    private const string ClusterSecret = "the secret of the silos of a chaos run";

    private readonly INetwork _network;
    private readonly ChaosSiloSettings _settings;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-chaos-");
    private readonly HttpClient _http;
    private ChildProcess? _process;
    private bool _wasEnded; // by us
    private bool _hasFakeClock;

    public ChaosSilo(int number, INetwork network, ChaosSiloSettings settings)
    {
        (Number, _network, _settings) = (number, network, settings);
        _http = new HttpClient { BaseAddress = new Uri($"http://{At(HttpPort)}"), Timeout = TimeSpan.FromSeconds(3) };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", ScrapeToken);
    }

    public int Number { get; }

    /// <summary>The data plane, as clients name it.</summary>
    public string Endpoint => $"tcp:{_network.DataPlaneOf(Number)}";

    /// <summary>Bytes of its arena.</summary>
    public long ArenaBytes => _settings.Arena.Bytes;

    /// <summary>Bytes of the process in memory; 0 while there is none.</summary>
    public long ResidentBytes => _process?.ResidentBytes ?? 0;

    /// <summary>Whether the process runs.</summary>
    public bool IsAlive => _process is { HasExited: false };

    private string ReadyPath => Path.Combine(_folder.FullName, "ready.json");

    /// <summary>One of its addresses.</summary>
    public string At(int port) => $"{_network.AddressOf(Number)}:{_network.PortOf(Number, port)}";

    /// <summary>Starts it, and does not wait.</summary>
    /// <param name="clock">How wrong its clock is (<see cref="FakeClock"/>); null for a right one.</param>
    public void Start(string? clock = null)
    {
        End();
        File.Delete(ReadyPath);
        var port = _network.PortOf(Number, SiloPort).ToString(CultureInfo.InvariantCulture);
        string[] arguments =
        [
            "--arena", _settings.Arena.ToString(), "--tcp", At(DataPort), "--http", $"http://{At(HttpPort)}", "--silo-port", port,
            "--gateway-port", "none", "--resp", At(RespPort), "--ready-file", ReadyPath, "--cluster", "redis", "--redis", _settings.Redis,
        ];
        var settings = new Dictionary<string, string>
        {
            ["KvCache:Cluster:Secret"] = ClusterSecret,
            ["KvCache:Cluster:Address"] = _network.AddressOf(Number).ToString(),
            ["KvCache:DataPlane:Advertised"] = _network.DataPlaneOf(Number).ToString(),
            ["KvCache:Accounts:ScrapeToken"] = ScrapeToken,
        };
        foreach (var (tenant, secret) in _settings.Secrets)
            settings[$"KvCache:Tenants:{tenant}:Secret"] = secret;
        var command = ProgramCommand.Silo(arguments, settings);
        _hasFakeClock = clock is not null;
        _process = ChildProcess.Start(_network.At(Number, clock is null ? command : FakeClock.Set(command, clock)), Heard, Heard);
        _wasEnded = false;
    }

    /// <summary>Starts it again if it has ended by itself, as a supervisor does.</summary>
    /// <returns>Whether it had.</returns>
    public bool Supervise()
    {
        if (_wasEnded || _process is not { HasExited: true })
            return false;
        Start();
        return true;
    }

    public async Task KillAsync()
    {
        _wasEnded = true;
        if (_process is not null)
            await _process.KillAsync().ConfigureAwait(false);
    }

    public void Pause() => _process!.Pause();

    public void Resume()
    {
        if (IsAlive)
            _process!.Resume();
    }

    /// <summary>Asks it to end, and waits.</summary>
    /// <returns>Its exit code, and how long it took; null when it had to be killed.</returns>
    public async Task<(int? Code, TimeSpan Took)> StopAsync(TimeSpan limit)
    {
        _wasEnded = true;
        var began = Stopwatch.GetTimestamp();
        _process!.Terminate();
        try
        {
            var code = await _process.WaitAsync().WaitAsync(limit).ConfigureAwait(false);
            return (code, Stopwatch.GetElapsedTime(began));
        }
        catch (TimeoutException)
        {
            await _process.KillAsync().ConfigureAwait(false);
            return (null, Stopwatch.GetElapsedTime(began));
        }
    }

    /// <summary>What it answers to whoever may look; null when it does not answer.</summary>
    public async Task<string?> GetAsync(string path)
    {
        try
        {
            using var answer = await _http.GetAsync(new Uri(path, UriKind.Relative)).ConfigureAwait(false);
            return await answer.Content.ReadAsStringAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException or IOException)
        {
            return null;
        }
    }

    /// <summary>The sum of a metric over its series; null when the silo does not answer.</summary>
    /// <param name="name">Name of the metric.</param>
    /// <param name="label">What the series have among their labels.</param>
    public async Task<double?> MetricAsync(string name, string label = "") => await GetAsync("/metrics").ConfigureAwait(false) is { } metrics
        ? metrics.Split('\n').Where(line => line.StartsWith(name, StringComparison.Ordinal) && line[name.Length] is '{' or ' '
            && line.Contains(label, StringComparison.Ordinal)).Sum(Value)
        : null;

    public async ValueTask DisposeAsync()
    {
        await KillAsync().ConfigureAwait(false);
        End();
        _http.Dispose();
        _folder.Delete(recursive: true);
    }

    // Name, labels, value, and sometimes a time.
    private static double Value(string line) => double.Parse(
        line[(line.IndexOf('}', StringComparison.Ordinal) is var end and >= 0 ? end + 1 : line.IndexOf(' ', StringComparison.Ordinal))..]
            .Trim().Split(' ')[0], CultureInfo.InvariantCulture);

    private void End()
    {
        _process?.Dispose();
        if (_process is not null && _hasFakeClock)
            FakeClock.Clean(_process.Id);
    }

    private void Heard(string line) => _settings.Log(Number, line);
}
