using KvCache.Client;
using KvCache.ClusterTests.Infrastructure;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Hosting;
using KvCache.Testing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;

namespace KvCache.ClusterTests;

/// <summary>A cluster of one silo, shared by the tests of a class, with a clock that tests may move forward.</summary>
public sealed class OneSilo : IAsyncLifetime
{
    public const int ArenaMiB = 64;

    private InProcessTestCluster? _cluster;

    public ShiftedClock Clock { get; } = new();

    /// <summary>The grains as an Orleans client sees them.</summary>
    public IGrainFactory Grains => _cluster!.Client;

    public IServiceProvider Services => _cluster!.Silos[0].ServiceProvider;

    internal BlockStore Store => Services.GetRequiredService<BlockStore>();

    public string[] Endpoints => Services.GetRequiredService<IDataPlaneAddresses>().Endpoints;

    public async ValueTask InitializeAsync()
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KvCache:Arena:Size"] = $"{ArenaMiB}MiB",
            ["KvCache:DataPlane:Tcp"] = "127.0.0.1:0",
        }).Build();
        var builder = new InProcessTestClusterBuilder(1);
        builder.ConfigureSilo((_, silo) =>
        {
            silo.Services.AddSingleton<TimeProvider>(Clock);
            silo.AddMemoryGrainStorage(PrefixDescriptor.StorageName).AddKvCache(configuration);
        });
        _cluster = await builder.DeployAsync();
        await Eventually.TrueAsync("the whole arena is committed", () => Store.Arena.CommittedBytes == Store.Arena.Capacity);
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
            await _cluster.DisposeAsync();
    }

    /// <summary>A client of the data plane.</summary>
    public KvCacheClient Connect()
    {
        var options = new KvCacheClientOptions { MatchTimeout = TimeSpan.FromSeconds(10), LoadTimeout = TimeSpan.FromSeconds(30) };
        options.Endpoints.Add(Endpoints[0]);
        return new KvCacheClient(options);
    }

    /// <summary>Ends every idle activation and waits until no prefix grain is active.</summary>
    public async Task DeactivatePrefixesAsync()
    {
        var management = Services.GetRequiredService<IGrainFactory>().GetGrain<IManagementGrain>(0);
        await Eventually.TrueAsync("no prefix grain is active", async () =>
        {
            await management.ForceActivationCollection(TimeSpan.Zero);
            return (await management.GetDetailedGrainStatistics())
                .All(grain => !grain.GrainType.Contains("PrefixGrain", StringComparison.Ordinal));
        });
    }
}
