using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Tenants;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>An index with less room than there are blocks in Redis and on other silos.</summary>
[Trait("run", "kills")]
public sealed class CrowdedIndexTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("crowded", KvLayout.Opaque([0, 4096], 16));
    private static readonly StoreOptions Persisted = new(Durability: Durability.Persisted);

    private static readonly SiloSettings Settings = new(Arena: "2MiB", Settings: new Dictionary<string, string>
    {
        ["KvCache:Cluster:MaxIndexEntries"] = "100",
        ["KvCache:Cluster:MaxRedisIndexEntries"] = "100",
        ["KvCache:Redis:ScanInterval"] = "00:00:01",
        ["KvCache:Store:Eviction"] = "lru", // what is fresh stays in memory: the index alone is asked
    });

    [Fact]
    public async Task Fresh_blocks_are_found_although_Redis_has_more_than_the_index_holds()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis, Settings);
        await using var writer = silos.Connect(0);
        await using var neighbour = silos.Connect(1);
        var all = 0;
        for (var round = 0; round < 20; round++)
        {
            foreach (var client in new[] { writer, neighbour })
            {
                var persisted = Prefixes.New(Ns, 50);
                Assert.Equal(50, (await client.StoreAsync(persisted, 0, persisted.Blocks(), Persisted)).Stored);
                all += 50;

                // The queue of what is to be written is bounded: what is told sooner than Redis takes it may not get there.
                await Eventually.TrueAsync("Redis has all of them", () => Task.FromResult(SizeOf(redis) >= all));
            }
        }

        var fresh = Enumerable.Range(0, 100).Select(_ => Prefixes.New(Ns, 1)).ToArray();
        foreach (var prefix in fresh)
            await writer.MustStoreAsync(prefix);
        foreach (var prefix in fresh)
        {
            Assert.Equal(1, (await writer.MatchAsync(prefix)).Blocks);
            await writer.MustLoadAsync(prefix);
        }

        Assert.True(await silos.MetricAsync(0, "kvcache_index_forgotten") > 0);
        silos.AssertHealthy();
    }

    [Fact]
    public async Task A_tenant_that_persists_masses_takes_no_other_ones_blocks_out_of_the_index()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await SiloProcess.StartAsync(Settings with
        {
            Arguments = ["--redis", redis.Tcp],
            Settings = new Dictionary<string, string>(Settings.Settings!)
            {
                ["KvCache:Cluster:MaxRedisIndexEntries"] = "200",
                ["KvCache:Tenants:acme:Secret"] = TwoTenants.AcmeSecret,
                ["KvCache:Tenants:acme:Share"] = "0.4",
                ["KvCache:Tenants:evil:Secret"] = TwoTenants.EvilSecret,
            },
        });
        await using var acme = silo.ConnectAs("acme");
        await using var evil = silo.ConnectAs("evil");
        var mine = Enumerable.Range(0, 60).Select(_ => Prefixes.New(Ns with { Tenant = "acme" }, 1)).ToArray();
        foreach (var prefix in mine)
            Assert.Equal(1, (await acme.StoreAsync(prefix, 0, prefix.Blocks(), Persisted)).Stored);
        await Eventually.TrueAsync("they are in Redis", () => Task.FromResult(SizeOf(redis) >= mine.Length));
        await Eventually.TrueAsync("Redis has masses of evil's", async () =>
        {
            // Again and again: the queue is bounded, and what Redis is still to get keeps memory.
            var theirs = Prefixes.New(Ns with { Tenant = "evil" }, 50);
            await evil.StoreAsync(theirs, 0, theirs.Blocks(), Persisted);
            return SizeOf(redis) >= 1000;
        });
        foreach (var prefix in mine)
            Assert.Equal(1, (await acme.MatchAsync(prefix)).Blocks);
        await acme.MustLoadAsync(mine[0]);
    }

    [Fact]
    public async Task What_Redis_has_lost_is_promised_no_longer_after_the_next_scan()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis, Settings);
        await using var writer = silos.Connect(0);
        await using var reader = silos.Connect(1);
        var persisted = Prefixes.New(Ns, 20);
        Assert.Equal(20, (await writer.StoreAsync(persisted, 0, persisted.Blocks(), Persisted)).Stored);
        await Eventually.TrueAsync("the blocks are in Redis", () => Task.FromResult(
            Enumerable.Range(0, 20).All(i => redis.Command("EXISTS", $"kvcache:{persisted.Key(i).ToGrainKey()}") == ":1")));
        await silos[0].KillAsync();
        await silos.AllCountAsync(1, "the silo is declared dead");
        Assert.Equal(20, (await reader.MatchAsync(persisted)).Blocks);

        // As an eviction does: nobody is told.
        foreach (var i in Enumerable.Range(0, 20))
            Assert.Equal(":1", redis.Command("DEL", $"kvcache:{persisted.Key(i).ToGrainKey()}"));
        await Eventually.TrueAsync("the scan has noticed", async () => (await reader.MatchAsync(persisted)).Blocks == 0);
    }

    private static int SizeOf(RedisProcess redis) =>
        int.Parse(redis.Command("DBSIZE")[1..], System.Globalization.CultureInfo.InvariantCulture);
}
