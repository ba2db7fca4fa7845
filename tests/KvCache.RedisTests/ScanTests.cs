using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class ScanTests
{
    private const int Keys = 10_000;

    [Fact]
    public async Task A_scan_finds_every_payload_of_the_prefix_and_nothing_else()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, configure: options => options.KeyPrefix = "kv[*]");
        Seed(redis, fixture);
        redis.Command("SET", "kv[*]:junk", "x");
        redis.Command("SET", "kv[*]:" + new string('a', 97), "x");
        redis.Command("SET", "kv[*]:" + new string('a', 8000), "x");
        redis.Command("SET", "kv*:" + TierFixture.Key(Keys), "x");
        redis.Command("SET", "other:" + TierFixture.Key(Keys), "x");
        var found = new HashSet<BlockKey>();
        var pages = 0;
        long last = 0;
        var count = await fixture.Tier.ScanAsync(
            page =>
            {
                pages++;
                found.UnionWith(page.Keys);
                last = page.Found;
                Assert.Equal(Keys + 5, page.DatabaseKeys);
            },
            TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(0, Keys).Select(TierFixture.Key).ToHashSet(), found);
        Assert.InRange(count, Keys, Keys * 2);
        Assert.Equal(count, last);
        Assert.InRange(pages, 5, Keys);
    }

    [Fact]
    public async Task A_scan_can_be_cancelled()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, configure: options => options.ScanPageSize = 10);
        Seed(redis, fixture);
        using var cancel = new CancellationTokenSource();
        long found = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => fixture.Tier.ScanAsync(
            page =>
            {
                found = page.Found;
                if (found > 100)
                    cancel.Cancel();
            },
            cancel.Token));
        Assert.InRange(found, 101, 1000);
    }

    private static void Seed(RedisProcess redis, TierFixture fixture)
    {
        using var connection = redis.Connect();
        for (var i = 0; i < Keys; i++)
            connection.Set(fixture.Name(TierFixture.Key(i)), default, "x"u8, 0, Deadline.After(TimeSpan.FromSeconds(10)));
    }
}
