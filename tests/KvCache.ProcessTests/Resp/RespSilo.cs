using KvCache.Engine.Storage;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>A silo with the Redis endpoint and the lm:// endpoint, without tenants.</summary>
public sealed class RespSilo : IAsyncLifetime
{
    internal SiloProcess Process { get; private set; } = null!;

    internal static SiloSettings Settings(params (string Key, string Value)[] more)
    {
        var settings =
            new Dictionary<string, string> { ["KvCache:Resp:Listen"] = "127.0.0.1:0", ["KvCache:LmCache:Listen"] = "127.0.0.1:0" };
        foreach (var (key, value) in more)
            settings["KvCache:" + key] = value;
        return new SiloSettings(UseUnix: false, Settings: settings);
    }

    // 16 clients of redis-benchmark hold 160 MiB of unfinished MSETs
    public async ValueTask InitializeAsync() => Process = await SiloProcess.StartAsync(Settings() with { Arena = "512MiB" });

    public ValueTask DisposeAsync() => Process.DisposeAsync();
}
