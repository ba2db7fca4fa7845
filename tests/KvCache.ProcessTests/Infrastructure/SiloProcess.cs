using System.Runtime.InteropServices;
using System.Text;
using KvCache.Client;
using KvCache.Processes;
using KvCache.QuickStart;
using KvCache.Silo.Hosting;
using KvCache.Testing;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>
/// A silo in a process of its own, which it takes down with it. What the silo logs is written to the output of the test
/// that disposes it.
/// </summary>
internal sealed partial class SiloProcess : IAsyncDisposable
{
    private const int OpenFilesResource = 7;

    private readonly SiloChild _silo;
    private readonly StringBuilder _log = new();

    private SiloProcess(SiloSettings settings) => _silo = SiloChild.Start(settings, Append);

    public string Folder => _silo.Folder;

    public string UnixPath => _silo.UnixPath;

    public string ArenaPath => _silo.ArenaPath;

    public ReadyFile Ready { get; private set; } = null!;

    public string Tcp => Ready.Endpoints.Single(endpoint => !endpoint.StartsWith("unix:", StringComparison.Ordinal));

    public string Unix => Ready.Endpoints.Single(endpoint => endpoint.StartsWith("unix:", StringComparison.Ordinal));

    /// <summary>Open files and sockets of the process.</summary>
    public int OpenFiles => Directory.GetFileSystemEntries($"/proc/{_silo.Process.Id}/fd").Length;

    public bool HasExited => _silo.Process.HasExited;

    public string Log
    {
        get
        {
            lock (_log)
                return _log.ToString();
        }
    }

    /// <inheritdoc cref="ChildProcess.ResidentBytes"/>
    public long ResidentBytes => _silo.Process.ResidentBytes;

    /// <summary>Starts a silo and waits until it serves.</summary>
    public static async Task<SiloProcess> StartAsync(SiloSettings? settings = null)
    {
        var silo = new SiloProcess(settings ?? new SiloSettings());
        try
        {
            silo.Ready = await silo._silo.WaitUntilReadyAsync(ReadyFile.TryRead, Eventually.Bound);
            return silo;
        }
        catch
        {
            await silo.DisposeAsync();
            throw;
        }
    }

    /// <summary>A client of this silo, with deadlines that only a hang reaches.</summary>
    public KvCacheClient Connect(string? endpoint = null, Action<KvCacheClientOptions>? configure = null)
    {
        var options =
            new KvCacheClientOptions { MatchTimeout = Eventually.Bound, LoadTimeout = Eventually.Bound, StoreTimeout = Eventually.Bound };
        options.Endpoints.Add(endpoint ?? Tcp);
        configure?.Invoke(options);
        return new KvCacheClient(options);
    }

    /// <summary>Sets how many files and sockets the process may have open.</summary>
    public void LimitOpenFiles(int files)
    {
        var limit = new ResourceLimit((ulong)files, (ulong)files);
        Assert.Equal(0, LimitResource(_silo.Process.Id, OpenFilesResource, in limit, 0));
    }

    public void Pause() => _silo.Process.Pause();

    public void Resume() => _silo.Process.Resume();

    public Task KillAsync() => _silo.Process.KillAsync();

    /// <summary>Asks the silo to end.</summary>
    public void Terminate() => _silo.Process.Terminate();

    /// <summary>Asks the silo to end and waits for it.</summary>
    /// <returns>Its exit code.</returns>
    public async Task<int> StopAsync()
    {
        if (!HasExited)
            Terminate();
        await Eventually.TrueAsync("the silo ended", () => HasExited);
        return await _silo.Process.WaitAsync();
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

    public void WriteLog() => Report.Line($"--- log of silo {_silo.Process.Id}\n{Log}---");

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        WriteLog();
        await _silo.DisposeAsync();
    }

    private void Append(string line)
    {
        lock (_log)
            _log.AppendLine(line);
    }

    [LibraryImport("libc", EntryPoint = "prlimit", SetLastError = true)]
    private static partial int LimitResource(int process, int resource, in ResourceLimit limit, nint old);

    private readonly record struct ResourceLimit(ulong Soft, ulong Hard);
}
