using System.Diagnostics;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class OutageTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMilliseconds(500);

    // What a loaded machine may add to a limit.
    private static readonly TimeSpan Slack = TimeSpan.FromSeconds(5);

    private static readonly KvLayout Large = TierFixture.LayoutOf(16 << 20);
    private static readonly KvLayout Small = TierFixture.LayoutOf(64 << 10);

    [Fact]
    public async Task Calls_to_a_frozen_redis_return_in_time_and_it_is_used_again_when_it_thaws()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, configure: Limits);
        await fixture.PersistAsync(TierFixture.Key(1), Small);
        redis.Freeze();
        try
        {
            var began = Stopwatch.GetTimestamp();
            Assert.Equal(PromoteOutcome.Deadline, await fixture.PromoteAsync(TierFixture.Key(1), Small));
            Assert.Equal(PersistOutcome.Unavailable, await fixture.WriteAsync(fixture.Put(TierFixture.Key(2), Large)));
            Assert.False(await fixture.Tier.DeleteAsync([TierFixture.Key(3)], TestContext.Current.CancellationToken));
            Assert.Null(await fixture.Tier.ExistsAsync(TierFixture.Key(1)));
            Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, (5 * Limit) + Slack);

            // Three failures have opened the breaker: from now on nobody waits.
            await Eventually.TrueAsync("the breaker is open", () => fixture.Tier.IsOpen);
            var status = fixture.Tier.GetStatus();
            Assert.Equal((true, redis.Tcp, 1), (status.BreakerOpen, status.Endpoint, status.PendingChanges));
            Assert.NotNull(status.LastError);
            Assert.Equal(1, status.Dropped[PersistOutcome.Unavailable]);
            began = Stopwatch.GetTimestamp();
            for (var i = 0; i < 1000; i++)
                Assert.Equal(PromoteOutcome.Unavailable, await fixture.PromoteAsync(TierFixture.Key(1), Small));
            Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, Slack);
        }
        finally
        {
            redis.Thaw();
        }

        await Eventually.TrueAsync("the breaker is closed", () => !fixture.Tier.IsOpen);
        await Eventually.TrueAsync(
            "the block is read", async () =>
            await fixture.PromoteAsync(TierFixture.Key(1), Small) is PromoteOutcome.Promoted or PromoteOutcome.AlreadyStored);
        await fixture.PersistAsync(TierFixture.Key(4), Large);
    }

    [Fact]
    public async Task A_redis_that_dies_within_a_write_gets_it_when_it_is_back()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        var outcome = new TaskCompletionSource<PersistOutcome>();
        proxy.Requests.HoldAfter(100_000);
        fixture.Tier.Enqueue(fixture.Put(TierFixture.Key(1), Large), outcome.SetResult);
        await Eventually.TrueAsync("half of the block is sent", () => proxy.Requests.Reached);
        redis.Kill();
        proxy.Requests.Release();
        await Eventually.TrueAsync("the failure is noticed", () => fixture.Tier.LastError is not null || outcome.Task.IsCompleted);
        Assert.False(outcome.Task.IsCompleted);
        redis.Restart();
        Assert.Equal(PersistOutcome.Persisted, await outcome.Task);
        fixture.Store.Remove(TierFixture.Key(1));
        var (promoted, lease) = await fixture.Tier.PromoteAsync(TierFixture.Key(1), Large, TestContext.Current.CancellationToken);
        Assert.Equal(PromoteOutcome.Promoted, promoted);
        using (lease)
            TierFixture.AssertContent(lease!);
    }

    [Fact]
    public async Task A_redis_that_dies_within_a_read_is_a_miss_and_nothing_of_the_block_is_visible()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        await fixture.PersistAsync(TierFixture.Key(1), Large);
        proxy.Replies.HoldAfter(1_000_000);
        var promotion = fixture.PromoteAsync(TierFixture.Key(1), Large);
        await Eventually.TrueAsync("a part of the block has come", () => proxy.Replies.Reached);
        redis.Kill();
        proxy.Replies.Release();
        Assert.Equal(PromoteOutcome.Unavailable, await promotion);
        Assert.False(fixture.Store.Contains(TierFixture.Key(1)));
        Assert.Equal(0, fixture.Store.GetStatistics().Writing);

        redis.Restart();
        await Eventually.TrueAsync(
            "Redis is asked again, and is empty", async () =>
            await fixture.PromoteAsync(TierFixture.Key(1), Large) is PromoteOutcome.Absent);
    }

    [Fact]
    public async Task A_restart_between_two_calls_is_not_noticed()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(TierFixture.Key(1), Small);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(1), Small));
        redis.Kill();
        redis.Restart();
        await fixture.PersistAsync(TierFixture.Key(2), Small);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(2), Small));
        Assert.Null(fixture.Tier.LastError);
    }

    [Fact]
    public async Task A_redis_that_was_never_there_costs_nothing_but_misses()
    {
        using var redis = RedisProcess.Start();
        redis.Kill();
        await using var fixture = new TierFixture(redis.Tcp, configure: options => options.MaxQueueTime = TimeSpan.FromMilliseconds(300));
        var outcome = new TaskCompletionSource<PersistOutcome>();
        fixture.Tier.Enqueue(fixture.Put(TierFixture.Key(1), Small), outcome.SetResult);
        Assert.Equal(PersistOutcome.Unavailable, await outcome.Task);
        Assert.Equal(0, fixture.Counters.QueuedBytes);
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
        Assert.Equal(PromoteOutcome.Unavailable, await fixture.PromoteAsync(TierFixture.Key(1), Small));
        await Assert.ThrowsAsync<RedisException>(() => fixture.Tier.ScanAsync(_ => { }, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_full_redis_drops_and_counts_writes_and_still_serves_reads()
    {
        using var redis = RedisProcess.Start("--maxmemory", "40mb", "--maxmemory-policy", "noeviction");
        await using var fixture =
            new TierFixture(redis.Tcp, arenaMib: 128, configure: options => options.MaxQueuedBytes = ByteSize.MiB(128));
        var layout = TierFixture.LayoutOf(8 << 20);
        var outcomes = new List<PersistOutcome>();
        for (var i = 0; i < 10; i++)
            outcomes.Add(await fixture.WriteAsync(fixture.Put(TierFixture.Key(i), layout)));
        Assert.Equal(PersistOutcome.Persisted, outcomes[0]);
        Assert.Equal(PersistOutcome.ServerFull, outcomes[^1]);
        Assert.All(outcomes, outcome => Assert.True(outcome is PersistOutcome.Persisted or PersistOutcome.ServerFull));
        Assert.Equal(
            outcomes.Count(outcome => outcome is PersistOutcome.ServerFull), fixture.Counters.PersistsWith(PersistOutcome.ServerFull));
        fixture.Store.Remove(TierFixture.Key(0));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(0), layout));
        Assert.False(fixture.Tier.IsOpen);
        Assert.True(await fixture.Tier.DeleteAsync(
            [.. Enumerable.Range(0, 10).Select(TierFixture.Key)], TestContext.Current.CancellationToken));
        await Eventually.TrueAsync("there is room again", async () =>
            await fixture.WriteAsync(fixture.Store.TryLease(TierFixture.Key(9))!) is PersistOutcome.Persisted);
    }

    [Fact]
    public async Task A_flushed_redis_is_a_miss()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(TierFixture.Key(1), Small);
        Assert.Equal("+OK", redis.Command("FLUSHALL"));
        Assert.Equal(PromoteOutcome.Absent, await fixture.PromoteAsync(TierFixture.Key(1), Small));
        await fixture.PersistAsync(TierFixture.Key(1), Small);
    }

    [Fact]
    public async Task Writes_to_a_replica_are_refused_and_counted()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(TierFixture.Key(1), Small);
        redis.Command("REPLICAOF", "127.0.0.1", "1");
        Assert.NotEqual(PersistOutcome.Persisted, await fixture.WriteAsync(fixture.Put(TierFixture.Key(2), Small)));
        Assert.Contains("READONLY", fixture.Tier.LastError, StringComparison.Ordinal);
        redis.Command("REPLICAOF", "NO", "ONE");
        await Eventually.TrueAsync("it is used again", () => fixture.Tier.IsAvailable);
        await fixture.PersistAsync(TierFixture.Key(3), Small);
    }

    private static void Limits(RedisTierOptions options)
    {
        options.ConnectTimeout = options.CommandTimeout = options.WriteTimeout = options.ReadTimeout = Limit;
        options.MaxQueueTime = Limit;
    }
}
