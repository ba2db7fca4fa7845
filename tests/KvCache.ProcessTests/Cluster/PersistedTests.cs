using System.Diagnostics;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A cluster with a Redis: what survives silos, and what happens when Redis does not.</summary>
[Trait("run", "kills")]
public sealed class PersistedTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(5);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("persisted", KvLayout.Opaque([0, 64 << 10, 256 << 10], 16));
    private static readonly StoreOptions Persisted = new(Durability: Durability.Persisted);

    [Fact]
    public async Task A_persisted_prefix_is_hit_again_when_its_silo_is_killed()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);
        var persisted = Prefixes.New(Ns, 16);
        var others = new[] { Prefixes.New(Ns, 8), Prefixes.New(Ns, 8) };
        await using var first = silos.Connect(0);
        await using var holder = silos.Connect(1);
        await using var third = silos.Connect(2);
        await StorePersistedAsync(silos, 1, holder, persisted);
        await first.MustStoreAsync(others[0]);
        await third.MustStoreAsync(others[1]);
        await using var load = await Load.StartAsync(silos.ConnectAll(Deadline, 0, 2, 0, 2), i => others[i % 2]);

        await using var reader = silos.Connect(2, SiloCluster.Within(Deadline));
        await Eventually.TrueAsync("the reader's silo knows the prefix", async () => (await reader.MatchAsync(persisted)).Blocks == 16);
        await silos[1].KillAsync();
        await Eventually.TrueAsync("the persisted prefix is hit again after kill -9 of its silo", () => reader.LoadsAsync(persisted));

        await silos.AllSeeAllAsync();
        await load.MoreHitsAsync("the others are still served", 20);
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
        silos.AssertHealthy();
    }

    [Fact]
    public async Task Prefixes_are_hit_again_after_every_silo_was_restarted()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        var prefixes = Enumerable.Range(0, 6).Select(_ => Prefixes.New(Ns, 8)).ToArray();
        await using (var writer = silos.Connect(0))
        {
            foreach (var prefix in prefixes)
                await StorePersistedAsync(silos, 0, writer, prefix);
        }

        foreach (var silo in silos.Living.ToArray())
            await silos[silo].KillAsync();
        await Task.WhenAll(silos.StartAsync(0), silos.StartAsync(1));
        await silos.AllSeeAllAsync();

        await Eventually.TrueAsync("both silos have found what Redis has", async () =>
            (await RedisAsync(silos, 0)).GetProperty("scanned").GetBoolean()
                && (await RedisAsync(silos, 1)).GetProperty("scanned").GetBoolean());
        Assert.Equal(48, (await RedisAsync(silos, 1)).GetProperty("scannedBlocks").GetInt64());
        for (var i = 0; i < prefixes.Length; i++)
        {
            await using var reader = silos.Connect(i % 2);
            var began = Stopwatch.GetTimestamp();
            Assert.Equal(8, (await reader.MatchAsync(prefixes[i])).Blocks);
            await reader.MustLoadAsync(prefixes[i]);
            Report.Line($"A prefix of 8 blocks was read from Redis within {Stopwatch.GetElapsedTime(began).TotalMilliseconds:0} ms.");
        }

        silos.AssertHealthy();
    }

    [Fact]
    public async Task Damaged_values_are_misses_and_are_counted()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        var prefixes = Enumerable.Range(0, 4).Select(_ => Prefixes.New(Ns, 1)).ToArray();
        await using (var writer = silos.Connect(0))
        {
            foreach (var prefix in prefixes)
                await StorePersistedAsync(silos, 0, writer, prefix);
        }

        await silos[0].KillAsync();
        await silos.AllCountAsync(1, "the silo is declared dead"); // until then the directory of grains has a part that nobody answers for
        string[] names = [.. prefixes.Select(prefix => $"kvcache:{prefix.Key(0).ToGrainKey()}")];
        Assert.Equal(":1", redis.Command("EXISTS", names[0]));
        Assert.StartsWith(":", redis.Command("SETRANGE", names[0], "100000", "wrong"), StringComparison.Ordinal);
        Assert.Equal(
            "+OK", redis.Command(
            "EVAL", "local v = redis.call('GET', KEYS[1]); return redis.call('SET', KEYS[1], string.sub(v, 1, -1000))", "1", names[1]));
        Assert.Equal(
            "+OK", redis.Command(
            "EVAL", "local a = redis.call('GET', KEYS[1]); local b = redis.call('GET', KEYS[2]); redis.call('SET', KEYS[1], b); return "
            + "redis.call('SET', KEYS[2], a)", "2", names[2], names[3]));

        await using var reader = silos.Connect(1);
        foreach (var prefix in prefixes)
            Assert.Equal(new LoadResult(0, MissReason.Absent), await reader.LoadAsync(prefix, 0, prefix.Memory(1)));

        // The exporter answers again for a moment what it has answered before.
        foreach (var (outcome, count) in new[] { ("Corrupt", 1), ("Truncated", 1), ("Foreign", 2) })
            await Eventually.TrueAsync(
                $"{count} reads are counted as {outcome}", async () =>
                await silos.MetricAsync(1, "kvcache_redis_promote_blocks", $"outcome=\"{outcome}\"") == count);
        foreach (var prefix in prefixes)
        {
            Assert.Equal(0, (await reader.MatchAsync(prefix)).Blocks);
            await reader.MustStoreAsync(prefix); // nothing stands in the way of the right bytes
            await reader.MustLoadAsync(prefix);
        }

        silos.AssertHealthy();
    }

    [Fact]
    public async Task Lives_and_deletions_reach_Redis()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        await using var first = silos.Connect(0);
        await using var second = silos.Connect(1);
        var deleted = Prefixes.New(Ns, 2);
        var expiring = Prefixes.New(Ns, 1);
        await StorePersistedAsync(silos, 0, first, deleted);
        Assert.Equal(
            1, (await first.StoreAsync(expiring, 0, expiring.Blocks(), Persisted with { TimeToLive = TimeSpan.FromSeconds(3) })).Stored);

        Assert.Equal(2, (await second.DeleteAsync(deleted)).Deleted);

        for (var block = 0; block < 2; block++)
            Assert.Equal(":0", redis.Command("EXISTS", $"kvcache:{deleted.Key(block).ToGrainKey()}"));
        await Eventually.TrueAsync("the life of the other ended everywhere", async () =>
            (await second.MatchAsync(expiring)).Blocks == 0 && redis.Command("EXISTS", $"kvcache:{expiring.Key(0).ToGrainKey()}") == ":0");
        silos.AssertHealthy();
    }

    [Fact]
    public async Task While_Redis_is_gone_the_cluster_serves_from_memory_and_goes_on_by_itself_when_it_is_back()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);
        var prefixes = Enumerable.Range(0, 3).Select(_ => Prefixes.New(Ns, 8)).ToArray();
        for (var silo = 0; silo < 3; silo++)
        {
            await using var writer = silos.Connect(silo);
            await StorePersistedAsync(silos, silo, writer, prefixes[silo]);
        }

        await using var load = await Load.StartAsync(silos.ConnectEverywhere(Deadline, 3), i => prefixes[(i + 1) % 3]);

        redis.Kill();
        await using var client = silos.Connect(0, SiloCluster.Within(Deadline));
        await Eventually.TrueAsync("stores do not wait for Redis, and the breaker is open", async () =>
        {
            var lost = Prefixes.New(Ns, 1);
            Assert.Equal(1, (await client.StoreAsync(lost, 0, lost.Blocks(), Persisted)).Stored);
            return !(await RedisAsync(silos, 0)).GetProperty("available").GetBoolean();
        });
        await load.MoreHitsAsync("memory is served without Redis", 100);
        redis.Restart();
        await Eventually.TrueAsync("Redis is used again", async () => (await RedisAsync(silos, 0)).GetProperty("available").GetBoolean());
        var later = Prefixes.New(Ns, 4);
        await Eventually.TrueAsync("blocks are persisted again", async () =>
        {
            await client.StoreAsync(later, 0, later.Blocks(), Persisted);
            return redis.Command("EXISTS", $"kvcache:{later.Key(3).ToGrainKey()}") == ":1" || ((await client.DeleteAsync(later)).Deleted < 0);
        });

        await load.MoreHitsAsync("the load goes on", 100);
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
        Assert.Equal(3, silos.Living.Count());
        await silos.AllSeeAllAsync();
    }

    [Fact]
    public async Task Silos_are_restarted_one_after_the_other_under_load()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);
        var prefixes = Enumerable.Range(0, 6).Select(_ => Prefixes.New(Ns, 8)).ToArray();
        await using var load = await Load.StartAsync(silos.ConnectEverywhere(Deadline, 6), i => prefixes[i], new StoreOptions(Replicas: 2));

        for (var silo = 0; silo < 3; silo++)
        {
            var began = Stopwatch.GetTimestamp();
            Assert.Equal(0, await silos[silo].StopAsync());
            Report.Line($"Silo {silo} stopped within {Stopwatch.GetElapsedTime(began).TotalMilliseconds:0} ms.");
            await load.MoreHitsAsync("the load goes on without it", 60);
            await silos.StartAsync(silo);
            await silos.AllSeeAllAsync();
            await load.MoreHitsAsync("the load goes on with it", 60);
        }

        await load.StopAsync();
        foreach (var prefix in prefixes)
        {
            await using var reader = silos.Connect(0);
            await reader.MustLoadAsync(prefix);
        }

        silos.AssertHealthy();
    }

    private static async Task<System.Text.Json.JsonElement> RedisAsync(SiloCluster silos, int silo) =>
        (await silos.ReadinessAsync(silo)).GetProperty("redis");

    // Stores a prefix, and waits until Redis has it.
    private static async Task StorePersistedAsync(SiloCluster silos, int silo, KvCacheClient client, KvPrefix prefix)
    {
        var before = await PersistedAsync();
        Assert.Equal(prefix.BlockCount, (await client.StoreAsync(prefix, 0, prefix.Blocks(), Persisted)).Stored);
        await Eventually.TrueAsync("Redis has the prefix", async () => await PersistedAsync() == before + prefix.BlockCount);

        Task<double> PersistedAsync() => silos.MetricAsync(silo, "kvcache_redis_persist_blocks", "outcome=\"Persisted\"");
    }
}
