using System.Text;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class LifeTests
{
    private static readonly BlockKey Key = TierFixture.Key(1);
    private static readonly KvLayout Layout = TierFixture.LayoutOf(8 << 20);
    private static readonly KvLayout Small = TierFixture.LayoutOf(64 << 10);

    [Theory]
    [InlineData(600)]
    [InlineData(5000)]
    [InlineData(null)]
    public async Task A_life_is_shortened_and_extended_in_place_and_the_payload_stays_right(int? seconds)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var generation = await fixture.PersistAsync(Key, Layout, seconds is { } life ? DateTimeOffset.UtcNow.AddSeconds(life) : null);
        var end = DateTimeOffset.UtcNow.AddSeconds(1000);

        Assert.True(await fixture.Tier.ExpireAsync(Key, end, TestContext.Current.CancellationToken));

        AssertTimeToLive(redis, fixture, 1000);
        var promoted = await fixture.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken);
        Assert.Equal(PromoteOutcome.Promoted, promoted.Outcome);
        using (promoted.Lease)
        {
            TierFixture.AssertLife(end, promoted.Lease);
            Assert.Equal(generation, promoted.Lease!.Generation);
            TierFixture.AssertContent(promoted.Lease);
        }
    }

    [Fact]
    public async Task A_block_whose_life_was_shortened_goes_from_redis_and_from_the_memory_it_was_promoted_into()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Small, DateTimeOffset.UtcNow.AddHours(1));
        Assert.True(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(3), TestContext.Current.CancellationToken));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Small));
        await Eventually.TrueAsync("it expires in memory", () => !fixture.Store.Contains(Key));
        await Eventually.TrueAsync("it expires in Redis", async () => await fixture.PromoteAsync(Key, Small) is PromoteOutcome.Absent);
    }

    [Fact]
    public async Task Writes_that_wait_or_run_end_with_the_new_life()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, configure: options => options.MaxQueuedBytes = ByteSize.MiB(64));
        proxy.Requests.HoldAfter(100_000);
        var running = fixture.WriteAsync(fixture.Put(TierFixture.Key(2), Layout, expiresAt: DateTimeOffset.UtcNow.AddHours(5)));
        await Eventually.TrueAsync("a part of the block is sent", () => proxy.Requests.Reached);
        var waiting = fixture.WriteAsync(fixture.Put(Key, Layout));

        var end = DateTimeOffset.UtcNow.AddSeconds(1000);
        var changes =
            Task.WhenAll(
            new[] { Key, TierFixture.Key(2) }.Select(key => fixture.Tier.ExpireAsync(key, end, TestContext.Current.CancellationToken)));
        proxy.Requests.Release();

        Assert.Equal([PersistOutcome.Persisted, PersistOutcome.Persisted], await Task.WhenAll(waiting, running));
        await changes;
        foreach (var key in new[] { Key, TierFixture.Key(2) })
        {
            AssertTimeToLive(redis, fixture, 1000, key);
            fixture.Store.Remove(key);
            var promoted = await fixture.Tier.PromoteAsync(key, Layout, TestContext.Current.CancellationToken);
            using (promoted.Lease)
                TierFixture.AssertLife(end, promoted.Lease);
        }
    }

    [Fact]
    public async Task A_promotion_that_runs_ends_with_the_new_life()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        await fixture.PersistAsync(Key, Layout);
        proxy.Replies.HoldAfter(100_000);
        var promotion = fixture.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken);
        await Eventually.TrueAsync("a part of the block has come", () => proxy.Replies.Reached);
        var end = DateTimeOffset.UtcNow.AddSeconds(1000);
        fixture.Lives.Set(Key, end - DateTimeOffset.UtcNow, fixture.Store.NewGeneration());
        var change = fixture.Tier.ExpireAsync(Key, end, TestContext.Current.CancellationToken);
        proxy.Replies.Release();
        var promoted = await promotion;
        using (promoted.Lease)
            TierFixture.AssertLife(end, promoted.Lease);
        Assert.True(await change);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(-1, 0)]
    [InlineData(0, 1)]
    [InlineData(0, -1)]
    public async Task Clocks_that_differ_by_hours_change_no_life(int writer, int reader)
    {
        using var redis = RedisProcess.Start();
        await using var writing = new TierFixture(redis.Tcp, time: new WrongClock(TimeSpan.FromHours(writer)));
        await using var reading = new TierFixture(redis.Tcp, time: new WrongClock(TimeSpan.FromHours(reader)));
        var changed = TierFixture.Key(2);
        await writing.PersistAsync(Key, Small, DateTimeOffset.UtcNow.AddSeconds(1000));
        await writing.PersistAsync(changed, Small);
        Assert.True(await writing.Tier.ExpireAsync(
            changed, writing.Time.GetUtcNow().AddSeconds(1000), TestContext.Current.CancellationToken));

        foreach (var key in new[] { Key, changed })
        {
            AssertTimeToLive(redis, writing, 1000, key);
            var promoted = await reading.Tier.PromoteAsync(key, Small, TestContext.Current.CancellationToken);
            using var lease = promoted.Lease;
            Assert.Equal(PromoteOutcome.Promoted, promoted.Outcome);
            TierFixture.AssertLife(reading.Time.GetUtcNow().AddSeconds(1000), lease);
        }
    }

    // Redis may not have heard of the new life when it is asked for the payload.
    [Fact]
    public async Task A_promotion_that_begins_a_moment_later_ends_with_the_new_life_too()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Small);

        fixture.Lives.Set(Key, TimeSpan.FromSeconds(1000), fixture.Store.NewGeneration());

        var promoted = await fixture.Tier.PromoteAsync(Key, Small, TestContext.Current.CancellationToken);
        using (promoted.Lease)
            TierFixture.AssertLife(DateTimeOffset.UtcNow.AddSeconds(1000), promoted.Lease);
    }

    [Fact]
    public async Task A_life_that_ends_now_is_a_deletion()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Small);
        Assert.True(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow, TestContext.Current.CancellationToken));
        Assert.Equal(":0", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task What_is_not_there_or_is_no_payload_is_left_alone()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var later = DateTimeOffset.UtcNow.AddHours(1);
        redis.Command("SET", Encoding.ASCII.GetString(fixture.Name(TierFixture.Key(2))), "short");
        redis.Command("LPUSH", Encoding.ASCII.GetString(fixture.Name(TierFixture.Key(3))), "x");
        for (var i = 1; i <= 3; i++)
            Assert.False(await fixture.Tier.ExpireAsync(TierFixture.Key(i), later, TestContext.Current.CancellationToken));
        Assert.Equal(":2", redis.Command("DBSIZE"));
        Assert.Equal(":-1", redis.Command("PTTL", Encoding.ASCII.GetString(fixture.Name(TierFixture.Key(2)))));
        Assert.Equal(":-1", redis.Command("PTTL", Encoding.ASCII.GetString(fixture.Name(TierFixture.Key(3)))));
        Assert.False(fixture.Tier.IsOpen);
    }

    [Fact]
    public async Task A_change_that_redis_could_not_hear_is_made_up_for_and_the_last_one_counts()
    {
        using var redis = RedisProcess.Start();
        await using var fixture =
            new TierFixture(
            redis.Tcp, configure: options => options.CommandTimeout = options.WriteTimeout = TimeSpan.FromMilliseconds(300));
        await fixture.PersistAsync(Key, Small);
        redis.Freeze();
        bool? changed;
        try
        {
            changed = await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(5000), TestContext.Current.CancellationToken);
            await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(1000), TestContext.Current.CancellationToken);
            Assert.Equal(1, fixture.Counters.PendingChanges);
        }
        finally
        {
            redis.Thaw();
        }

        Assert.Null(changed);
        await Eventually.TrueAsync("Redis has confirmed", () => fixture.Counters.PendingChanges == 0);
        AssertTimeToLive(redis, fixture, 1000);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Small));
    }

    [Fact]
    public async Task A_delete_wins_over_a_change_that_waits()
    {
        using var redis = RedisProcess.Start();
        await using var fixture =
            new TierFixture(
            redis.Tcp, configure: options => options.CommandTimeout = options.WriteTimeout = TimeSpan.FromMilliseconds(300));
        await fixture.PersistAsync(Key, Small);
        redis.Freeze();
        try
        {
            var change = fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(5000), TestContext.Current.CancellationToken);
            Assert.False(await fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken));
            Assert.False(await change);
            Assert.False(
                await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(5000), TestContext.Current.CancellationToken));
        }
        finally
        {
            redis.Thaw();
        }

        await Eventually.TrueAsync("Redis has confirmed", () => fixture.Counters.PendingChanges == 0);
        Assert.Equal(":0", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task A_full_redis_still_changes_lives()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        redis.Command("CONFIG", "SET", "maxmemory", "1mb");
        Assert.Equal(PersistOutcome.ServerFull, await fixture.WriteAsync(fixture.Put(TierFixture.Key(2), Layout)));
        Assert.True(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(1000), TestContext.Current.CancellationToken));
        AssertTimeToLive(redis, fixture, 1000);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
    }

    [Fact]
    public async Task A_redis_that_lets_nobody_run_scripts_refuses_and_goes_on_serving()
    {
        using var redis = RedisProcess.Start("--rename-command", "EVAL", "");
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Small);
        Assert.Null(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(1000), TestContext.Current.CancellationToken));
        Assert.Equal(0, fixture.Counters.PendingChanges);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Small));
    }

    private static void AssertTimeToLive(RedisProcess redis, TierFixture fixture, int seconds, BlockKey? key = null)
    {
        using var connection = redis.Connect();
        Assert.InRange(
            connection.TimeToLive(fixture.Name(key ?? Key), Deadline.After(TimeSpan.FromSeconds(5))), (seconds - 100) * 1000,
            seconds * 1000);
    }
}
