using System.Diagnostics;
using KvCache.Processes;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

/// <summary>The server behind the address changes: what was the master is a replica now, and the name leads to another one.</summary>
public sealed class FailoverTests
{
    private static readonly KvLayout Small = TierFixture.LayoutOf(64 << 10);

    [Fact]
    public async Task Writes_and_reads_reach_the_new_master_when_the_old_one_has_become_a_replica()
    {
        using var old = RedisProcess.Start();
        using var next = RedisProcess.Start();
        using var name = new RedisProxy(old);
        await using var fixture = new TierFixture(name.Address, configure: options => options.Readers = 1);
        await fixture.PersistAsync(TierFixture.Key(1), Small);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(1), Small)); // those who read are connected too
        Assert.True(fixture.Tier.IsAvailable);

        // Nobody closes the connections: the old one goes on answering, as a replica that does not reach its master.
        Assert.Equal("+OK", old.Command("REPLICAOF", "127.0.0.1", $"{LoopbackPort.FindFree()}"));
        name.PointTo(next);

        var began = Stopwatch.GetTimestamp();
        var number = 10;
        await Eventually.TrueAsync("a block is written to the new master", async () =>
            await fixture.WriteAsync(fixture.Put(TierFixture.Key(number++), Small)) == PersistOutcome.Persisted);
        Promised.Within(TimeSpan.FromSeconds(10), Stopwatch.GetElapsedTime(began), "a write to the new master");
        await Eventually.TrueAsync("the tier says so", () => fixture.Tier.IsAvailable);
        fixture.Store.Remove(TierFixture.Key(number - 1));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(number - 1), Small));
        await Eventually.TrueAsync("a deletion reaches it", async () =>
            await fixture.Tier.DeleteAsync([TierFixture.Key(number - 1)], TestContext.Current.CancellationToken));
        Assert.False(await fixture.Tier.ExistsAsync(TierFixture.Key(number - 1)));
    }

    [Fact]
    public async Task A_replica_alone_is_told_and_closes_no_breaker()
    {
        using var master = RedisProcess.Start();
        using var replica = RedisProcess.Start("--replicaof", "127.0.0.1", $"{master.Port}");
        await using var fixture = new TierFixture(replica.Tcp);

        await Eventually.TrueAsync("the replica is refused", () => fixture.Tier.IsOpen);

        Assert.Contains("READONLY", fixture.Tier.LastError, StringComparison.Ordinal);
        Assert.False(fixture.Tier.IsAvailable);
        Assert.Equal("+OK", replica.Command("REPLICAOF", "NO", "ONE"));
        await Eventually.TrueAsync("it is used once it is a master", () => fixture.Tier.IsAvailable);
    }

    [Fact]
    public async Task A_frozen_redis_of_which_nothing_is_asked_is_not_told_to_be_available()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(TierFixture.Key(1), Small);

        redis.Freeze();
        Promised.Within(
            TimeSpan.FromSeconds(5), await Eventually.TrueAsync("the tier notices by itself", () => !fixture.Tier.IsAvailable), "noticed");
        redis.Thaw();
        await Eventually.TrueAsync("the tier notices that it is back", () => fixture.Tier.IsAvailable);
    }

    [Fact]
    public async Task Sentinels_are_asked_for_the_master_and_a_failover_is_followed()
    {
        Assert.SkipWhen(ProgramCommand.Find("redis-sentinel") is null, "There is no redis-sentinel on PATH.");
        using var master = RedisProcess.Start();
        using var replica = RedisProcess.Start("--replicaof", "127.0.0.1", $"{master.Port}");
        using var sentinels = new Sentinels(2, master);
        await Eventually.TrueAsync("the sentinels know the replica and each other", () => sentinels.AreSettled);
        await using var fixture = new TierFixture($"{sentinels.Addresses},sentinel=mymaster");
        await fixture.PersistAsync(TierFixture.Key(1), Small);

        master.Kill();

        var began = Stopwatch.GetTimestamp();
        var number = 10;
        await Eventually.TrueAsync("a block is written to the promoted replica", async () =>
            await fixture.WriteAsync(fixture.Put(TierFixture.Key(number++), Small)) == PersistOutcome.Persisted);
        Promised.Within(TimeSpan.FromSeconds(15), Stopwatch.GetElapsedTime(began), "a write to the promoted replica");
    }

    [Theory]
    [InlineData("127.0.0.1:1;127.0.0.1:2", "sentinel=NAME was expected")]
    [InlineData("127.0.0.1:1,sentinelpassword=x", "needs sentinel=")]
    [InlineData("127.0.0.1:1;nonsense,sentinel=mymaster", "'nonsense' is not an address")]
    public void Wrong_addresses_of_sentinels_are_told(string text, string sentence)
    {
        Assert.False(RedisEndpoint.TryParse(text, out _, out var problem));
        Assert.Contains(sentence, problem, StringComparison.Ordinal);
    }
}
