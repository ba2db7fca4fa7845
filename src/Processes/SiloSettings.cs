namespace KvCache.Processes;

/// <summary>How a silo process is started: on ports that it chooses, unless told otherwise.</summary>
/// <param name="Arena">Size of the arena.</param>
/// <param name="Tcp">Data plane address; port 0 takes a free one.</param>
/// <param name="UseUnix">Whether it listens on a Unix socket too.</param>
/// <param name="UseArenaFile">Whether the arena is a shared file.</param>
/// <param name="Settings">Configuration, by key as in <c>KvCache:DataPlane:FrameTimeout</c>.</param>
/// <param name="Folder">
/// Folder of socket, arena and ready file, of this silo alone; null for a new one. A short path: sockets allow 107 bytes.
/// </param>
/// <param name="SiloPort">Orleans port between silos; 0 takes a free one.</param>
/// <param name="GatewayPort">Orleans port for clients; 0 takes a free one, none has no gateway.</param>
/// <param name="Arguments">Further command line.</param>
/// <param name="Http">Address of the HTTP API; port 0 takes a free one.</param>
/// <param name="Clock">How wrong its wall clock is (<see cref="FakeClock"/>); null for a right one.</param>
internal sealed record SiloSettings(
    string Arena = "64MiB",
    string Tcp = "127.0.0.1:0",
    bool UseUnix = true,
    bool UseArenaFile = false,
    IReadOnlyDictionary<string, string>? Settings = null,
    string? Folder = null,
    int SiloPort = 0,
    string GatewayPort = "none",
    IReadOnlyList<string>? Arguments = null,
    string Http = "http://127.0.0.1:0",
    string? Clock = null);
