using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Grains;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Descriptors;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Runtime;
using Orleans.Storage;
using Orleans.TestingHost;

namespace KvCache.RedisTests.Infrastructure;

/// <summary>A silo with grain storage and the tier, as an Orleans host starts them, and nothing else of the cache.</summary>
internal sealed class DescriptorSilo : IAsyncDisposable
{
    private readonly InProcessTestCluster _cluster;

    private DescriptorSilo(InProcessTestCluster cluster) => _cluster = cluster;

    public BlockStore Store => Services.GetRequiredService<BlockStore>();

    public RedisTier Tier => Services.GetRequiredService<RedisTier>();

    public PrefixDescriptorStore Descriptors => Services.GetRequiredService<PrefixDescriptorStore>();

    public PrefixDescriptorCounters Counters => Services.GetRequiredService<PrefixDescriptorCounters>();

    public IGrainStorage Storage => Services.GetRequiredKeyedService<IGrainStorage>(PrefixDescriptor.StorageName);

    private IServiceProvider Services => _cluster.Silos[0].ServiceProvider;

    public static async Task<DescriptorSilo> StartAsync(string connection, params (string Name, string Value)[] settings)
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(
        [
            new("KvCache:Redis:ConnectionString", connection),
            new("KvCache:Redis:ConnectTimeout", "00:00:01"),
            new("KvCache:Redis:BreakerDelay", "00:00:00.050"),
            new("KvCache:Redis:DrainTimeout", "00:00:00"),
            .. settings.Select(setting => KeyValuePair.Create(setting.Name, (string?)setting.Value)),
        ]).Build();
        var builder = new InProcessTestClusterBuilder(1);
        builder.ConfigureSilo((_, silo) =>
        {
            // as prefix grains need it
            silo.Services.Configure<GrainCollectionOptions>(options => options.CollectionQuantum = TimeSpan.FromSeconds(15));
            silo.Services.Configure<PrefixGrainOptions>(configuration.GetSection("KvCache:Prefixes"));
            silo.Services.AddSingleton(_ =>
            {
                var arena = Arena.CreatePrivate(16 << 20);
                arena.Commit();
                return new BlockStore(arena);
            });
            silo.Services.AddPrefixGrains();
            silo.Services.AddRedisTier(configuration);
            silo.AddKvCacheRedisStorage(configuration);
        });
        var cluster = builder.Build();
        await cluster.DeployAsync();
        return new DescriptorSilo(cluster);
    }

    public static GrainId Grain(BlockKey key) => GrainId.Create("prefix", key.ToGrainKey());

    public static string Name(BlockKey key) => $"kvcache:descriptor:{key.ToGrainKey()}";

    /// <summary>Stores a block in Redis and keeps its pin, in this order.</summary>
    public async Task PersistAsync(BlockKey key, DateTimeOffset? expiresAt = null)
    {
        var layout = TierFixture.LayoutOf(4096);
        using (var write = Store.TryReserve(key, layout, default)!)
        {
            BlockChecksum.ComputeLayers(write.Bytes, layout, write.Checksums);
            Assert.Equal(PublishOutcome.Published, Store.Publish(key, write.Generation, expiresAt - DateTimeOffset.UtcNow));
        }

        var outcome = new TaskCompletionSource<PersistOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        Tier.Enqueue(Store.TryLease(key)!, outcome.SetResult);
        Assert.Equal(PersistOutcome.Persisted, await outcome.Task);
        Assert.True(await Descriptors.UpdateAsync(Grain(key), Pinned));
    }

    /// <summary>An end whose bytes are no UTF-8.</summary>
    public static DateTimeOffset End { get; } = DateTimeOffset.FromUnixTimeMilliseconds(0x00FD_FEFF_FFFC);

    public static void Pinned(PrefixDescriptor descriptor) => descriptor.PinnedUntil = End;

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();
}
