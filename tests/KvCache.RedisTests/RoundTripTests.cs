using KvCache.Engine.Storage;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class RoundTripTests
{
    public static TheoryData<string, int, int> Shapes => new()
    {
        { "tcp", 1, 1 },
        { "tcp", 4097, 3 },
        { "tcp", 256 << 10, 32 },
        { "unix", 1 << 20, 7 },
        { "tcp", 8 << 20, 4096 },
        { "tcp", 32 << 20, 64 },
        { "unix", 32 << 20, 64 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task A_block_comes_back_byte_for_byte_with_its_generation(string transport, int bytes, int layers)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(transport == "tcp" ? redis.Tcp : redis.Unix, arenaMib: 96);
        var layout = TierFixture.LayoutOf(bytes, layers);
        var generation = await fixture.PersistAsync(TierFixture.Key(1), layout);

        // What is not overwritten cannot come back by chance.
        fixture.Put(TierFixture.Key(2), layout).Dispose();
        var (outcome, lease) = await fixture.Tier.PromoteAsync(TierFixture.Key(1), layout, TestContext.Current.CancellationToken);
        Assert.Equal(PromoteOutcome.Promoted, outcome);
        using (lease)
        {
            Assert.Equal(generation, lease!.Generation);
            TierFixture.AssertContent(lease);
        }

        Assert.Equal(PromoteOutcome.AlreadyStored, await fixture.PromoteAsync(TierFixture.Key(1), layout));
        Assert.True(await fixture.Tier.ExistsAsync(TierFixture.Key(1)));
        Assert.False(await fixture.Tier.ExistsAsync(TierFixture.Key(3)));
        Assert.Equal(PromoteOutcome.Absent, await fixture.PromoteAsync(TierFixture.Key(3), layout));
    }

    [Fact]
    public async Task A_block_brings_its_layout_and_everything_that_is_known_of_it_back()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var layout = KvLayout.Create(layers: 6, kvHeads: 2, headDim: 64, KvDataType.Float16, tokensPerBlock: 16);
        var (parent, child) = (TierFixture.Key(1), TierFixture.Key(2));
        var lineage = new BlockLineage(parent.Hash, 1, 77, 300);
        var end = DateTimeOffset.UtcNow.AddHours(1);
        Assert.Equal(PersistOutcome.Persisted, await fixture.WriteAsync(fixture.Put(child, layout, lineage, end, new BlockDurability(3))));
        fixture.Store.Remove(child);
        fixture.Put(parent, layout).Dispose();
        var promoted = await fixture.Tier.PromoteAsync(child, expected: null, TestContext.Current.CancellationToken);
        using (promoted.Lease)
        {
            Assert.Equal(PromoteOutcome.Promoted, promoted.Outcome);
            Assert.Equal(layout, promoted.Lease?.Layout);
            Assert.Equal(lineage, promoted.Lease?.Lineage);
            Assert.Equal(new BlockDurability(3, Persisted: true), promoted.Lease?.Durability);
            TierFixture.AssertLife(end, promoted.Lease);
        }

        // The promoted block is the deeper one of its prefix, and so the first to be evicted, although it was used last.
        using (fixture.Store.TryLease(parent))
            Assert.Equal(1, fixture.Store.Clear());
        Assert.False(fixture.Store.Contains(child));
    }

    [Fact]
    public async Task Blocks_of_one_layout_share_the_object()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, configure: options => options.Readers = 1);
        foreach (var key in new[] { 1, 2 })
            await fixture.PersistAsync(TierFixture.Key(key), TierFixture.LayoutOf(4096));
        using var first = (await fixture.Tier.PromoteAsync(TierFixture.Key(1), null, TestContext.Current.CancellationToken)).Lease;
        using var second = (await fixture.Tier.PromoteAsync(TierFixture.Key(2), null, TestContext.Current.CancellationToken)).Lease;
        Assert.Same(first!.Layout, second!.Layout);
    }

    [Fact]
    public async Task Everybody_who_asks_for_one_block_gets_a_lease_and_it_is_read_once()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address);
        var layout = TierFixture.LayoutOf(4 << 20);
        await fixture.PersistAsync(TierFixture.Key(1), layout);
        proxy.Replies.HoldAfter(100_000);
        var promotions = Enumerable.Range(0, 8).Select(_ => fixture.Tier.PromoteAsync(TierFixture.Key(1), layout)).ToList();
        using var cancel = new CancellationTokenSource();
        var cancelled = fixture.Tier.PromoteAsync(TierFixture.Key(1), layout, cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        proxy.Replies.Release();
        foreach (var (outcome, lease) in await Task.WhenAll(promotions))
        {
            Assert.Equal(PromoteOutcome.Promoted, outcome);
            lease!.Dispose();
        }

        Assert.Equal(1, fixture.Counters.PromotesWith(PromoteOutcome.Promoted));
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
    }

    [Fact]
    public async Task Times_to_live_agree_with_redis()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var layout = TierFixture.LayoutOf(4096);
        await fixture.PersistAsync(TierFixture.Key(1), layout, DateTimeOffset.UtcNow.AddSeconds(60));
        await fixture.PersistAsync(TierFixture.Key(2), layout);
        using var connection = redis.Connect();
        Assert.InRange(connection.TimeToLive(fixture.Name(TierFixture.Key(1)), Deadline.After(TimeSpan.FromSeconds(5))), 30_000, 60_000);
        Assert.InRange(
            connection.TimeToLive(fixture.Name(TierFixture.Key(2)), Deadline.After(TimeSpan.FromSeconds(5))), 86_300_000, 86_400_000);

        var expired = fixture.Put(TierFixture.Key(3), layout, expiresAt: DateTimeOffset.UtcNow.AddMilliseconds(20));
        await Eventually.TrueAsync("it expires before it is written", () => !fixture.Store.Contains(TierFixture.Key(3)));
        Assert.Equal(PersistOutcome.Expired, await fixture.WriteAsync(expired));

        await fixture.PersistAsync(TierFixture.Key(4), layout, DateTimeOffset.UtcNow.AddSeconds(3));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(4), layout));
        await Eventually.TrueAsync("the promoted block expires in memory", () => !fixture.Store.Contains(TierFixture.Key(4)));
        await Eventually.TrueAsync(
            "it expires in Redis", async () => await fixture.PromoteAsync(TierFixture.Key(4), layout) is PromoteOutcome.Absent);
    }

    [Fact]
    public async Task A_promotion_without_room_is_a_miss()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, arenaMib: 8);
        var layout = TierFixture.LayoutOf(4 << 20);
        await fixture.PersistAsync(TierFixture.Key(1), layout);
        using (fixture.Put(TierFixture.Key(2), layout))
        using (fixture.Put(TierFixture.Key(3), layout))
            Assert.Equal(PromoteOutcome.NoMemory, await fixture.PromoteAsync(TierFixture.Key(1), layout));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(1), layout));
    }

    [Fact]
    public async Task A_user_a_password_and_a_database_are_used()
    {
        using var redis = RedisProcess.Start("--user", "kv", "on", ">secret", "~kvcache:*", "+@all");
        var layout = TierFixture.LayoutOf(4096);
        await using (var fixture = new TierFixture(redis.Tcp + ",user=kv,password=secret,db=3"))
        {
            await fixture.PersistAsync(TierFixture.Key(1), layout);
            Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(1), layout));
        }

        await using (var other = new TierFixture(redis.Tcp))
            Assert.Equal(PromoteOutcome.Absent, await other.PromoteAsync(TierFixture.Key(1), layout));
        await using var stranger = new TierFixture(redis.Tcp + ",user=kv,password=wrong");
        Assert.Equal(PromoteOutcome.Unavailable, await stranger.PromoteAsync(TierFixture.Key(1), layout));
        Assert.Contains("WRONGPASS", stranger.Tier.LastError, StringComparison.Ordinal);
    }
}
