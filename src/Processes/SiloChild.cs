using System.Globalization;

namespace KvCache.Processes;

/// <summary>A silo in a process of its own, and its folder. Disposing stops it.</summary>
internal sealed class SiloChild : IDisposable, IAsyncDisposable
{
    private readonly bool _ownsFolder;
    private readonly bool _hasFakeClock;

    private SiloChild(SiloSettings settings, Action<string>? onLine)
    {
        _ownsFolder = settings.Folder is null;
        Folder = settings.Folder ?? Directory.CreateTempSubdirectory("kvcache-silo-").FullName;
        File.Delete(ReadyPath);
        string[] arguments =
        [
            "--arena", settings.Arena, "--tcp", settings.Tcp, "--http", settings.Http,
            "--silo-port", settings.SiloPort.ToString(CultureInfo.InvariantCulture),
            "--gateway-port", settings.GatewayPort, "--ready-file", ReadyPath,
            .. settings.UseUnix ? (string[])["--unix", UnixPath] : [],
            .. settings.UseArenaFile ? (string[])["--arena-file", ArenaPath] : [],
            .. settings.Arguments ?? [],
        ];
        _hasFakeClock = settings.Clock is not null;
        var command = ProgramCommand.Silo(arguments, settings.Settings);
        Process = ChildProcess.Start(settings.Clock is { } offset ? FakeClock.Set(command, offset) : command, onLine, onLine);
    }

    /// <summary>The process.</summary>
    public ChildProcess Process { get; }

    /// <summary>Folder of its files.</summary>
    public string Folder { get; }

    /// <summary>Path of its Unix socket, where it has one.</summary>
    public string UnixPath => Path.Combine(Folder, "silo.sock");

    /// <summary>Path of its arena, where that is a file.</summary>
    public string ArenaPath => Path.Combine(Folder, "arena");

    private string ReadyPath => Path.Combine(Folder, "ready.json");

    /// <summary>Starts a silo, and does not wait for it.</summary>
    /// <param name="settings">How.</param>
    /// <param name="onLine">Receives the lines that it logs; null keeps the last ones for messages about its failure.</param>
    public static SiloChild Start(SiloSettings settings, Action<string>? onLine = null) => new(settings, onLine);

    /// <summary>Waits until the silo serves.</summary>
    /// <param name="read">Reads its addresses from the file that it writes then; null while that is not there.</param>
    /// <param name="limit">Longest wait.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>Its addresses.</returns>
    /// <exception cref="ChildProcessException">It ended, or was not ready in time; the message has its last lines.</exception>
    public Task<T> WaitUntilReadyAsync<T>(Func<string, T?> read, TimeSpan limit, CancellationToken cancellationToken = default)
        where T : class => Process.WaitUntilReadyAsync(() => read(ReadyPath), limit, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await Process.DisposeAsync().ConfigureAwait(false);
        if (_hasFakeClock)
            FakeClock.Clean(Process.Id);
        if (_ownsFolder)
            Directory.Delete(Folder, recursive: true);
    }

    /// <inheritdoc/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();
}
