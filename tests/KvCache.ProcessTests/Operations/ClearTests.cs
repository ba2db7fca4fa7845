using System.Diagnostics;
using System.Globalization;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Clearing a namespace is answered within bounds, truthfully, and goes on.</summary>
public sealed class ClearTests
{
    private static readonly TimeSpan FrameTimeout = TimeSpan.FromSeconds(4);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("cleared", KvLayout.Opaque([0, 4096], 16));
    private static readonly StoreOptions Persisted = new(Durability: Durability.Persisted);

    [Fact]
    public async Task A_clear_while_Redis_is_away_is_not_confirmed_and_ends_when_Redis_is_back()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await StartAsync(redis);
        await using var client = silo.Connect();
        KvPrefix gone = Prefixes.New(Ns, 40), stays = Prefixes.New(Ns with { Model = "other" }, 3);
        foreach (var prefix in new[] { gone, stays })
            Assert.Equal(prefix.BlockCount, (await client.StoreAsync(prefix, 0, prefix.Blocks(), Persisted)).Stored);
        await Eventually.TrueAsync("Redis has them", () => Task.FromResult(Has(redis, gone) == 40 && Has(redis, stays) == 3));

        // Many ask at once, and again.
        redis.Freeze();
        var began = Stopwatch.GetTimestamp();
        var answers = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => client.ClearAsync(Ns).AsTask()));
        Report.Line($"Clears while Redis is frozen were answered within {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s.");
        Assert.All(answers, answer => Assert.False(answer.IsConfirmed));
        Assert.Equal(0, (await client.MatchAsync(gone)).Blocks);
        Assert.DoesNotContain("ended the connection", silo.Log, StringComparison.Ordinal);

        redis.Thaw();
        await Eventually.TrueAsync("nothing is left of it, although nobody asks again", () => Task.FromResult(Has(redis, gone) == 0));
        await Eventually.TrueAsync("that is confirmed", async () => (await client.ClearAsync(Ns)).IsConfirmed);
        Assert.Equal(3, Has(redis, stays));
        await client.MustLoadAsync(stays);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task What_only_Redis_has_and_no_index_knows_goes_too()
    {
        using var redis = RedisProcess.Start();
        var prefix = Prefixes.New(Ns, 30);
        await using (var before = await StartAsync(redis))
        {
            await using var writer = before.Connect();
            Assert.Equal(30, (await writer.StoreAsync(prefix, 0, prefix.Blocks(), Persisted)).Stored);
            await Eventually.TrueAsync("Redis has them", () => Task.FromResult(Has(redis, prefix) == 30));
        }

        await using var silo = await StartAsync(redis, ("KvCache:Cluster:MaxRedisIndexEntries", "1"));
        await using var client = silo.Connect();
        await Eventually.TrueAsync("it is confirmed", async () => (await client.ClearAsync(Ns)).IsConfirmed);
        Assert.Equal(0, Has(redis, prefix));
        silo.AssertHealthy();
    }

    private static Task<SiloProcess> StartAsync(RedisProcess redis, params (string Key, string Value)[] settings) =>
        SiloProcess.StartAsync(new SiloSettings(
            Arguments: ["--redis", redis.Tcp],
            Settings: settings.Append(("KvCache:DataPlane:FrameTimeout", FrameTimeout.ToString("c", CultureInfo.InvariantCulture)))
                .ToDictionary(setting => setting.Item1, setting => setting.Item2)));

    private static int Has(RedisProcess redis, KvPrefix prefix) => Enumerable.Range(0, prefix.BlockCount)
        .Count(i => redis.Command("EXISTS", $"kvcache:{prefix.Key(i).ToGrainKey()}") == ":1");
}
