using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Silo.Hosting;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>How a silo process is started.</summary>
/// <param name="Arena">Size of the arena.</param>
/// <param name="Tcp">Data plane address; port 0 takes a free one.</param>
/// <param name="UseUnix">Whether it listens on a Unix socket too.</param>
/// <param name="UseArenaFile">Whether the arena is a shared file.</param>
/// <param name="Settings">Configuration, by key as in <c>KvCache:DataPlane:FrameTimeout</c>.</param>
/// <param name="Folder">Folder of socket, arena and ready file; null for a new one.</param>
/// <param name="SiloPort">Orleans port between silos; 0 takes a free one.</param>
/// <param name="GatewayPort">Orleans port for clients; 0 takes a free one.</param>
/// <param name="Arguments">Further command line.</param>
/// <param name="Http">Address of the HTTP API; port 0 takes a free one.</param>
internal sealed record SiloSettings(
    string Arena = "64MiB",
    string Tcp = "127.0.0.1:0",
    bool UseUnix = true,
    bool UseArenaFile = false,
    IReadOnlyDictionary<string, string>? Settings = null,
    string? Folder = null,
    int SiloPort = 0,
    int GatewayPort = 0,
    IReadOnlyList<string>? Arguments = null,
    string Http = "http://127.0.0.1:0");

/// <summary>
/// A silo in a process of its own, which it takes down with it. What the silo logs is written to the output of the test
/// that disposes it.
/// </summary>
internal sealed partial class SiloProcess : IAsyncDisposable
{
    private const int OpenFilesResource = 7;
    private const int SigKill = 9, SigTerm = 15, SigCont = 18, SigStop = 19;

    private static readonly ConcurrentDictionary<int, Process> Running = [];

    private readonly Process _process;
    private readonly StringBuilder _log = new();
    private readonly bool _ownsFolder;

    static SiloProcess() => AppDomain.CurrentDomain.ProcessExit += (_, _) =>
    {
        foreach (var process in Running.Values)
            process.Kill();
    };

    private SiloProcess(SiloSettings settings)
    {
        _ownsFolder = settings.Folder is null;
        Folder = settings.Folder ?? Directory.CreateTempSubdirectory("kvcache-silo-").FullName;
        File.Delete(ReadyPath);
        List<string> arguments =
        [
            "--arena", settings.Arena, "--tcp", settings.Tcp, "--http", settings.Http,
            "--silo-port", $"{settings.SiloPort}", "--gateway-port", $"{settings.GatewayPort}", "--ready-file", ReadyPath, .. settings.Arguments ?? [],
        ];
        if (settings.UseUnix)
            arguments.AddRange(["--unix", UnixPath]);
        if (settings.UseArenaFile)
            arguments.AddRange(["--arena-file", ArenaPath]);
        var start = Command(arguments, settings.Settings);
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, line) => Append(line.Data);
        _process.ErrorDataReceived += (_, line) => Append(line.Data);
        _process.Start();
        Running[_process.Id] = _process;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public string Folder { get; }

    public string UnixPath => Path.Combine(Folder, "data.sock");

    public string ArenaPath => Path.Combine(Folder, "arena");

    public ReadyFile Ready { get; private set; } = null!;

    public string Tcp => Ready.Endpoints.Single(endpoint => !endpoint.StartsWith("unix:", StringComparison.Ordinal));

    public string Unix => Ready.Endpoints.Single(endpoint => endpoint.StartsWith("unix:", StringComparison.Ordinal));

    /// <summary>Open files and sockets of the process.</summary>
    public int OpenFiles => Directory.GetFileSystemEntries($"/proc/{_process.Id}/fd").Length;

    public bool HasExited => _process.HasExited;

    public string Log
    {
        get
        {
            lock (_log)
                return _log.ToString();
        }
    }

    /// <summary>Resident memory of the process, in bytes.</summary>
    public long ResidentBytes
    {
        get
        {
            var line = File.ReadLines($"/proc/{_process.Id}/status").First(text => text.StartsWith("VmRSS:", StringComparison.Ordinal));
            return long.Parse(line.AsSpan(6, line.Length - 9).Trim(), CultureInfo.InvariantCulture) << 10;
        }
    }

    private string ReadyPath => Path.Combine(Folder, "ready.json");

    /// <summary>Starts a silo and waits until it serves.</summary>
    public static async Task<SiloProcess> StartAsync(SiloSettings? settings = null)
    {
        var silo = new SiloProcess(settings ?? new SiloSettings());
        try
        {
            await Eventually.TrueAsync("the silo is ready", () =>
            {
                if (silo.HasExited)
                    Assert.Fail($"The silo ended with {silo._process.ExitCode} before it was ready.");
                return (silo.Ready = ReadyFile.TryRead(silo.ReadyPath)!) is not null;
            });
            return silo;
        }
        catch
        {
            await silo.DisposeAsync();
            throw;
        }
    }

    /// <summary>The command that runs the silo program.</summary>
    public static ProcessStartInfo Command(IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? settings = null)
    {
        var host = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));
        var start = new ProcessStartInfo(File.Exists(host) ? host : "dotnet", [Path.Combine(AppContext.BaseDirectory, "KvCache.Silo.dll"), .. arguments]);
        foreach (var (key, value) in settings ?? new Dictionary<string, string>())
            start.Environment[key.Replace(":", "__", StringComparison.Ordinal)] = value;
        return start;
    }

    /// <summary>A client of this silo, with deadlines that only a hang reaches.</summary>
    public KvCacheClient Connect(string? endpoint = null, Action<KvCacheClientOptions>? configure = null)
    {
        var options = new KvCacheClientOptions { MatchTimeout = Eventually.Bound, LoadTimeout = Eventually.Bound, StoreTimeout = Eventually.Bound };
        options.Endpoints.Add(endpoint ?? Tcp);
        configure?.Invoke(options);
        return new KvCacheClient(options);
    }

    /// <summary>Sets how many files and sockets the process may have open.</summary>
    public void LimitOpenFiles(int files)
    {
        var limit = new ResourceLimit((ulong)files, (ulong)files);
        Assert.Equal(0, LimitResource(_process.Id, OpenFilesResource, in limit, 0));
    }

    public void Pause() => Signal(SigStop);

    public void Resume() => Signal(SigCont);

    public async Task KillAsync()
    {
        Signal(SigKill);
        await _process.WaitForExitAsync();
    }

    /// <summary>Asks the silo to end.</summary>
    public void Terminate() => Signal(SigTerm);

    /// <summary>Asks the silo to end and waits for it.</summary>
    /// <returns>Its exit code.</returns>
    public async Task<int> StopAsync()
    {
        if (!HasExited)
            Terminate();
        await Eventually.TrueAsync("the silo ended", () => HasExited);
        await _process.WaitForExitAsync(); // the last lines of its log
        return _process.ExitCode;
    }

    /// <summary>Fails when the silo went or logged an error.</summary>
    /// <param name="lostOthers">Other silos were killed, and Orleans may log that it did not reach them.</param>
    public void AssertHealthy(bool lostOthers = false)
    {
        Assert.False(HasExited, "The silo has ended.");
        Assert.DoesNotContain(lostOthers ? "fail: KvCache" : "fail:", Log, StringComparison.Ordinal);
        Assert.DoesNotContain("crit:", Log, StringComparison.Ordinal);
        Assert.DoesNotContain("Unhandled", Log, StringComparison.OrdinalIgnoreCase);
    }

    public void WriteLog() => Report.Line($"--- log of silo {_process.Id}\n{Log}---");

    public async ValueTask DisposeAsync()
    {
        if (!HasExited)
            await KillAsync();
        Running.TryRemove(_process.Id, out _);
        WriteLog();
        _process.Dispose();
        if (_ownsFolder)
            Directory.Delete(Folder, recursive: true);
    }

    private void Append(string? line)
    {
        lock (_log)
            _log.AppendLine(line);
    }

    private void Signal(int signal) => Assert.Equal(0, Kill(_process.Id, signal));

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);

    [LibraryImport("libc", EntryPoint = "prlimit", SetLastError = true)]
    private static partial int LimitResource(int process, int resource, in ResourceLimit limit, nint old);

    private readonly record struct ResourceLimit(ulong Soft, ulong Hard);
}
