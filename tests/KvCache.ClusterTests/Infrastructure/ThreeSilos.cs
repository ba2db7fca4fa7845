using KvCache.Client;
using KvCache.ClusterTests.Infrastructure;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.Silo.Hosting;
using KvCache.Testing;
using KvCache.TorchSharp;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;

namespace KvCache.ClusterTests;

/// <summary>Three silos of one process, shared by the tests of a class.</summary>
public sealed class ThreeSilos : IAsyncLifetime
{
    public const int ArenaMiB = 64;

    private InProcessTestCluster? _cluster;

    /// <summary>Number of silos.</summary>
    public const int Count = 3;

    /// <summary>The grains as code inside a silo calls them.</summary>
    public IGrainFactory GrainsAt(int silo) => At<IGrainFactory>(silo);

    internal BlockStore StoreAt(int silo) => At<BlockStore>(silo);

    public SiloAddress AddressOf(int silo) => _cluster!.Silos[silo].SiloAddress;

    public async ValueTask InitializeAsync()
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KvCache:Arena:Size"] = $"{ArenaMiB}MiB",
            ["KvCache:DataPlane:Tcp"] = "127.0.0.1:0",
            ["KvCache:Cluster:Mode"] = "Localhost",
            ["KvCache:Store:MaxPinnedShare"] = "0.95",
        }).Build();
        var builder = new InProcessTestClusterBuilder(Count);
        builder.ConfigureSilo((_, silo) => silo.AddMemoryGrainStorage(PrefixDescriptor.StorageName).AddKvCache(configuration));
        _cluster = await builder.DeployAsync();
        var readers = Enumerable.Range(0, Count).Select(Connect).ToArray();
        for (var silo = 0; silo < Count; silo++)
        {
            var store = StoreAt(silo);
            await Eventually.TrueAsync("the whole arena is committed", () => store.Arena.CommittedBytes == store.Arena.Capacity);

            // A block that every silo finds says that all follow this one.
            var prefix = Blocks.Prefix(Blocks.Small, 1);
            await readers[silo].StoreAsync(prefix, 0, [(ReadOnlyMemory<byte>)Blocks.Bytes(Blocks.Small)]);
            await Eventually.TrueAsync("all silos follow each other", async () =>
            {
                foreach (var reader in readers)
                {
                    if ((await reader.MatchAsync(prefix)).Blocks == 0)
                        return false;
                }

                return true;
            });
        }

        foreach (var reader in readers)
            await reader.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
            await _cluster.DisposeAsync();
    }

    /// <summary>A client of the data plane of a silo.</summary>
    public KvCacheClient Connect(int silo)
    {
        var options = new KvCacheClientOptions { MatchTimeout = TimeSpan.FromSeconds(10), LoadTimeout = TimeSpan.FromSeconds(30) };
        options.Endpoints.Add(At<IDataPlaneAddresses>(silo).Endpoints[0]);
        return new KvCacheClient(options);
    }

    /// <summary>The silos on which grains of prefixes are active, by grain key.</summary>
    public async Task<IReadOnlyDictionary<string, SiloAddress>> PrefixGrainsAsync() =>
        (await GrainsAt(0).GetGrain<IManagementGrain>(0).GetDetailedGrainStatistics())
            .Where(grain => grain.GrainType.Contains("PrefixGrain", StringComparison.Ordinal))
            .ToDictionary(grain => grain.GrainId.Key.ToString()!, grain => grain.SiloAddress);

    /// <summary>Ends every idle activation and waits until no prefix grain is active.</summary>
    public Task DeactivatePrefixesAsync() => Eventually.TrueAsync("no prefix grain is active", async () =>
    {
        await GrainsAt(0).GetGrain<IManagementGrain>(0).ForceActivationCollection(TimeSpan.Zero);
        return (await PrefixGrainsAsync()).Count == 0;
    });

    private T At<T>(int silo)
        where T : notnull => _cluster!.Silos[silo].ServiceProvider.GetRequiredService<T>();
}
