using System.Diagnostics;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The list of members in Redis: lost, stale, or written by clocks that were wrong.</summary>
[Trait("run", "kills")]
public sealed class MembershipTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("members", KvLayout.Opaque(64 << 10, 1));

    [Fact]
    public async Task A_redis_that_forgets_the_list_of_members_gets_it_again_and_restarted_silos_find_the_others()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);

        Assert.Equal("+OK", redis.Command("FLUSHALL"));
        await silos[1].KillAsync();
        await silos[2].KillAsync();
        var began = Stopwatch.GetTimestamp();
        await Task.WhenAll(silos.StartAsync(1), silos.StartAsync(2));

        await silos.AllSeeAllAsync();
        Promised.Within(TimeSpan.FromSeconds(30), Stopwatch.GetElapsedTime(began), "one cluster again");
        Assert.Contains("has forgotten the list of members", silos[0].Log, StringComparison.Ordinal);
        await using var first = silos.Connect(0);
        await using var last = silos.Connect(2);
        var prefix = Prefixes.New(Ns, 1);
        await first.MustStoreAsync(prefix);
        await Eventually.TrueAsync("the third silo finds the first one's block", async () => (await last.MatchAsync(prefix)).Blocks == 1);
    }

    [Fact]
    public async Task A_redis_that_forgets_the_list_costs_a_cluster_that_stays_nothing()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);

        redis.Kill();
        redis.Restart();

        await Eventually.TrueAsync("the list is there again", () => redis.Command("HLEN", "kvcache:members:kvcache") is not ":0");
        await silos.AllSeeAllAsync();
        silos.AssertHealthy();
    }

    [Fact]
    public async Task When_all_silos_died_at_once_a_new_one_at_another_address_is_ready_soon_and_says_for_whom_it_waits()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        await Task.WhenAll(silos[0].KillAsync(), silos[1].KillAsync());

        var began = Stopwatch.GetTimestamp();
        await using var other = await SiloProcess.StartAsync(Of(redis));
        var took = Stopwatch.GetElapsedTime(began);

        Promised.Within(TimeSpan.FromSeconds(15), took, "ready"); // 84 s and more, once
        Assert.Contains("Not ready yet: the list of members has", other.Log, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("+1h", null)]
    [InlineData(null, "-1h")]
    public async Task A_silo_whose_clock_was_ahead_or_is_behind_comes_back_at_its_address(string? before, string? after)
    {
        Assert.SkipUnless(FakeClock.WhyNot is null, FakeClock.WhyNot ?? "");
        using var redis = RedisProcess.Start();
        await using var steady = await SiloProcess.StartAsync(Of(redis));
        var port = LoopbackPort.FindFree();
        await using (var first = await SiloProcess.StartAsync(Of(redis, port, before)))
            await first.KillAsync();

        await using var second = await SiloProcess.StartAsync(Of(redis, port, after));

        await Eventually.TrueAsync("the silos see each other", async () => await PeersAsync(steady) == 1 && await PeersAsync(second) == 1);

        // It was told that it is dead 20 s after its start, once.
        await Task.Delay(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal(1, await PeersAsync(steady));
        Assert.False(second.HasExited);
    }

    private static async Task<int> PeersAsync(SiloProcess silo)
    {
        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        using var answer = System.Text.Json.JsonDocument.Parse(await http.GetStringAsync(new Uri("/readyz", UriKind.Relative)));
        return answer.RootElement.GetProperty("peers").GetInt32();
    }

    private static SiloSettings Of(RedisProcess redis, int port = 0, string? clock = null) => new(
        UseUnix: false, SiloPort: port, Clock: clock, Arguments: ["--cluster", "redis", "--redis", redis.Tcp],
        Settings: new Dictionary<string, string> { ["KvCache:Cluster:Secret"] = "a secret of the cluster's silos" });
}
