using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class DeleteTests
{
    private static readonly BlockKey Key = TierFixture.Key(1);
    private static readonly KvLayout Layout = TierFixture.LayoutOf(8 << 20);

    [Fact]
    public async Task Deleted_blocks_are_gone_and_can_be_stored_again()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        Assert.True(await fixture.Tier.DeleteAsync([Key, TierFixture.Key(2)], TestContext.Current.CancellationToken));
        Assert.Equal(PromoteOutcome.Absent, await fixture.PromoteAsync(Key, Layout));
        await fixture.PersistAsync(Key, Layout);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
    }

    [Fact]
    public async Task A_delete_wins_over_a_write_that_runs()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        var outcome = new TaskCompletionSource<PersistOutcome>();
        proxy.Requests.HoldAfter(100_000);
        fixture.Tier.Enqueue(fixture.Put(Key, Layout), outcome.SetResult);
        await Eventually.TrueAsync("a part of the block is sent", () => proxy.Requests.Reached);
        var delete = fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken);
        Assert.False(outcome.Task.IsCompleted);
        proxy.Requests.Release();
        Assert.True(await delete);
        Assert.Equal(PersistOutcome.Deleted, await outcome.Task);
        AssertGone(redis, fixture, Key);
    }

    [Fact]
    public async Task A_delete_wins_over_a_write_that_waits_and_not_over_one_that_comes_later()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, configure: options => options.MaxQueuedBytes = ByteSize.MiB(64));
        var waiting = new TaskCompletionSource<PersistOutcome>();
        proxy.Requests.HoldAfter(100_000);
        fixture.Tier.Enqueue(fixture.Put(TierFixture.Key(2), Layout));
        await Eventually.TrueAsync("the writer is busy", () => proxy.Requests.Reached);
        fixture.Tier.Enqueue(fixture.Put(Key, Layout), waiting.SetResult);
        var delete = fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken);
        Assert.True(waiting.Task.IsCompleted);
        Assert.Equal(PersistOutcome.Deleted, await waiting.Task);
        var later = fixture.WriteAsync(fixture.Store.TryLease(Key)!);
        proxy.Requests.Release();
        Assert.True(await delete);
        Assert.Equal(PersistOutcome.Persisted, await later);
        using var connection = redis.Connect();
        Assert.True(connection.Exists(fixture.Name(Key), Deadline.After(TimeSpan.FromSeconds(5))));
    }

    [Fact]
    public async Task A_delete_wins_over_a_promotion_that_runs()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        await fixture.PersistAsync(Key, Layout);
        proxy.Replies.HoldAfter(100_000);
        var promotion = fixture.PromoteAsync(Key, Layout);
        await Eventually.TrueAsync("a part of the block has come", () => proxy.Replies.Reached);
        var delete = fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken);
        proxy.Replies.Release();
        Assert.Equal(PromoteOutcome.Deleted, await promotion);
        Assert.True(await delete);
        Assert.False(fixture.Store.Contains(Key));
        AssertGone(redis, fixture, Key);
    }

    [Fact]
    public async Task A_delete_wins_over_a_write_that_a_frozen_redis_finds_in_its_buffers()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, configure: options =>
        {
            options.ConnectTimeout = options.CommandTimeout = options.WriteTimeout = options.ReadTimeout = options.MaxQueueTime =
                TimeSpan.FromMilliseconds(300);
            options.BreakerFailures = 1;
        });
        var small = TierFixture.LayoutOf(16 << 10);
        await fixture.PersistAsync(TierFixture.Key(2), small);
        redis.Freeze();
        bool deleted;
        try
        {
            // All of it fits into the buffers of the kernel: Redis has received the command and not seen it.
            Assert.Equal(PersistOutcome.Unavailable, await fixture.WriteAsync(fixture.Put(Key, small)));
            deleted = await fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken);
        }
        finally
        {
            redis.Thaw();
        }

        Assert.False(deleted);
        await Eventually.TrueAsync("Redis confirms the delete", () => fixture.Counters.Deletes == 1);
        AssertGone(redis, fixture, Key);
    }

    [Fact]
    public async Task A_delete_wins_over_a_write_that_was_given_up_and_is_still_on_its_way()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture =
            new TierFixture(
            proxy.Address, configure: options => options.WriteTimeout = options.MaxQueueTime = TimeSpan.FromMilliseconds(300));
        proxy.Requests.HoldAfter(50_000);

        // The proxy has all of it when the tier gives up, and the connection to Redis stays open.
        Assert.Equal(PersistOutcome.Unavailable, await fixture.WriteAsync(fixture.Put(Key, TierFixture.LayoutOf(64 << 10))));
        Assert.True(proxy.Requests.Reached);
        Assert.True(await fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken));
        proxy.Requests.Release();
        await Eventually.TrueAsync("the proxy has sent the rest, or could not", () => proxy.Connections == 1);
        AssertGone(redis, fixture, Key);
    }

    [Fact]
    public async Task A_delete_that_redis_could_not_hear_is_made_up_for()
    {
        using var redis = RedisProcess.Start();
        await using var fixture =
            new TierFixture(
            redis.Tcp, configure: options => options.CommandTimeout = options.WriteTimeout = TimeSpan.FromMilliseconds(300));
        await fixture.PersistAsync(Key, Layout);
        redis.Freeze();
        var deleted = await fixture.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken);
        var promoted = await fixture.PromoteAsync(Key, Layout);
        redis.Thaw();
        Assert.False(deleted);
        Assert.NotEqual(PromoteOutcome.Promoted, promoted);
        await Eventually.TrueAsync("Redis has deleted the block", () =>
        {
            using var connection = redis.Connect();
            return !connection.Exists(fixture.Name(Key), Deadline.After(TimeSpan.FromSeconds(5)));
        });
    }

    private static void AssertGone(RedisProcess redis, TierFixture fixture, BlockKey key)
    {
        using var connection = redis.Connect();
        Assert.False(connection.Exists(fixture.Name(key), Deadline.After(TimeSpan.FromSeconds(5))));
    }
}
