using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The contract of all caches, for a client of silos.</summary>
public abstract class SiloContract : CacheContract
{
    protected override CacheCapabilities Capabilities =>
        CacheCapabilities.Hold | CacheCapabilities.Pin | CacheCapabilities.Follow | CacheCapabilities.LoadLayers
        | CacheCapabilities.StoreLayers | CacheCapabilities.Hints | CacheCapabilities.Durability | CacheCapabilities.Replicas
        | CacheCapabilities.Shared;
}

/// <summary>A silo that the contract's tests share: each of them has a namespace of its own.</summary>
[CollectionDefinition]
public sealed class ContractSilo : ICollectionFixture<ContractSilo>, IAsyncLifetime
{
    private SiloProcess _silo = null!;

    public async ValueTask InitializeAsync() => _silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "32MiB"));

    public ValueTask DisposeAsync() => _silo.DisposeAsync();

    internal string Tcp => _silo.Tcp;

    internal KvCacheClient Connect() => _silo.Connect();
}

/// <summary>Three silos that the contract's tests share.</summary>
public sealed class ContractCluster : IAsyncLifetime
{
    private SiloCluster _silos = null!;

    public async ValueTask InitializeAsync() => _silos = await SiloCluster.StartAsync(3, settings: new SiloSettings(Arena: "32MiB"));

    public ValueTask DisposeAsync() => _silos.DisposeAsync();

    internal KvCacheClient Connect() => _silos[0].Connect(configure: options =>
    {
        options.Endpoints.Clear();
        foreach (var silo in _silos.Living)
            options.Endpoints.Add(_silos[silo].Tcp);
    });
}

/// <summary>For a client of one silo.</summary>
[Collection(typeof(ContractSilo))]
public sealed class ClientContractTests(ContractSilo silo) : SiloContract
{
    protected override IKvCache Create() => silo.Connect();
}

/// <summary>For a cache in memory before a silo.</summary>
[Collection(typeof(ContractSilo))]
public sealed class TieredContractTests(ContractSilo silo) : SiloContract
{
    protected override IKvCache Create() => new TieredKvCache(new LocalKvCache(ByteSize.MiB(4)), silo.Connect());
}

/// <summary>For a client of three silos.</summary>
public sealed class ClusterContractTests(ContractCluster silos) : SiloContract, IClassFixture<ContractCluster>
{
    protected override IKvCache Create() => silos.Connect();
}
