using KvCache.Client;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>A silo with a Redis endpoint that the tests of distributed caches share: each of them has names of its own.</summary>
[CollectionDefinition]
public sealed class CachingSilo : ICollectionFixture<CachingSilo>, IAsyncLifetime
{
    internal SiloProcess Process { get; private set; } = null!;

    internal KvCacheClient Client { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Process = await SiloProcess.StartAsync(RespSilo.Settings() with { Arena = "256MiB" });
        Client = Process.Connect();
    }

    public async ValueTask DisposeAsync()
    {
        await Client.DisposeAsync();
        await Process.DisposeAsync();
    }
}
