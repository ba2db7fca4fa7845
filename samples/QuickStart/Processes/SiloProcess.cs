using KvCache.Engine.Storage;
using KvCache.Silo.Hosting;

namespace KvCache.QuickStart;

/// <summary>How to start a silo.</summary>
public sealed record SiloProcessOptions
{
    /// <summary>An existing folder of this silo alone, for its socket and its ready file. The path must be short: sockets allow 107 bytes.</summary>
    public required string Folder { get; init; }

    /// <summary>Size of the block memory. Default 256 MiB.</summary>
    public ByteSize Arena { get; init; } = ByteSize.MiB(256);

    /// <summary>Secrets of the tenants by name. Default none: the silo then serves the tenant <c>default</c> without a secret.</summary>
    public IReadOnlyDictionary<string, string> Tenants { get; init; } = new Dictionary<string, string>();

    /// <summary>Secret of the silos among themselves; needed by a cluster with tenants. Default none.</summary>
    public string ClusterSecret { get; init; } = "";

    /// <summary>Further arguments of the silo's command line.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];
}

/// <summary>A silo as a process of its own, on ports that it chooses. Disposing stops it.</summary>
public sealed class SiloProcess : IAsyncDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    private readonly ChildProcess _process;
    private readonly string _readyFile;

    private SiloProcess(ChildProcess process, string readyFile)
    {
        _process = process;
        _readyFile = readyFile;
    }

    /// <summary>The process.</summary>
    public ChildProcess Process => _process;

    /// <summary>Starts a silo; <see cref="WaitReadyAsync"/> tells when it serves.</summary>
    public static SiloProcess Start(SiloProcessOptions options)
    {
        var readyFile = Path.Combine(options.Folder, "ready.json");
        File.Delete(readyFile);
        string[] arguments =
        [
            "--arena", options.Arena.ToString(), "--tcp", "127.0.0.1:0", "--unix", Path.Combine(options.Folder, "kv.sock"),
            "--http", "http://127.0.0.1:0", "--silo-port", "0", "--gateway-port", "0", "--ready-file", readyFile, .. options.Arguments,
        ];
        // Secrets go through the environment: command lines are visible to every user of a machine.
        var environment = options.Tenants.ToDictionary(tenant => $"KvCache__Tenants__{tenant.Key}__Secret", tenant => tenant.Value);
        if (options.ClusterSecret.Length > 0)
            environment["KvCache__Cluster__Secret"] = options.ClusterSecret;
        return new SiloProcess(ChildProcess.Start("KvCache.Silo.dll", arguments, environment), readyFile);
    }

    /// <summary>Waits until the silo serves.</summary>
    /// <param name="limit">Longest wait.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>Its addresses.</returns>
    /// <exception cref="ChildProcessException">It ended, or was not ready in time; the message has its last lines.</exception>
    internal async Task<ReadyFile> WaitReadyAsync(TimeSpan limit, CancellationToken cancellationToken = default)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        bound.CancelAfter(limit);
        while (true)
        {
            if (ReadyFile.TryRead(_readyFile) is { } ready)
                return ready;
            if (_process.HasExited)
            {
                var exitCode = await _process.WaitAsync(cancellationToken);
                throw new ChildProcessException($"The silo ended with code {exitCode} before it was ready:\n{_process.LastLines}");
            }

            try
            {
                await Task.Delay(Interval, bound.Token);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw new ChildProcessException($"The silo was not ready within {limit.TotalSeconds:F0} s; its last lines:\n{_process.LastLines}");
            }
        }
    }

    /// <summary>Stops the silo and waits for its end.</summary>
    /// <inheritdoc cref="ChildProcess.StopAsync"/>
    public Task<bool> StopAsync() => _process.StopAsync();

    /// <inheritdoc cref="ChildProcess.KillAsync"/>
    public Task KillAsync() => _process.KillAsync();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
