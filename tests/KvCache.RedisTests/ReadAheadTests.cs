using System.Globalization;
using System.Text;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Testing;

namespace KvCache.RedisTests;

/// <summary>A reader asks Redis for the next payload while it still reads one.</summary>
public sealed class ReadAheadTests
{
    private static readonly KvLayout Layout = TierFixture.LayoutOf(4 << 20);

    [Fact]
    public async Task Promotions_that_wait_for_one_reader_all_end_as_they_should()
    {
        const int Blocks = 40;
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, arenaMib: 128, configure: options => options.Readers = 1);
        var expected = new PromoteOutcome[Blocks];
        for (var i = 0; i < Blocks; i++)
        {
            var layout = TierFixture.LayoutOf((i % 7) switch { 0 => 4 << 20, 1 => 1, _ => 300_000 }, layers: i % 7 == 1 ? 1 : 4);
            if (i % 5 != 1)
                await fixture.PersistAsync(TierFixture.Key(i), layout);
            expected[i] =
                (i % 5) switch
                {
                    1 => PromoteOutcome.Absent,
                    2 => PromoteOutcome.Corrupt,
                    3 => PromoteOutcome.Truncated,
                    _ => PromoteOutcome.Promoted
                };
            var name = Encoding.ASCII.GetString(fixture.Name(TierFixture.Key(i)));
            if (expected[i] is PromoteOutcome.Corrupt)
                Damage(redis, name, i, layout);
            else if (expected[i] is PromoteOutcome.Truncated)
                redis.Command("APPEND", name, new string('x', 2_000_000 * (i % 2)) + "x");
        }

        proxy.Replies.HoldAfter(100_000);
        var promotions = Enumerable.Range(0, Blocks)
            .Select(i => fixture.Tier.PromoteAsync(TierFixture.Key(i), null, TestContext.Current.CancellationToken)).ToList();
        await Eventually.TrueAsync("the first one is being read", () => proxy.Replies.Reached);
        proxy.Replies.Release();

        for (var i = 0; i < Blocks; i++)
        {
            var (outcome, lease) = await promotions[i];
            Assert.Equal(expected[i], outcome);
            using (lease)
            {
                if (lease is not null)
                    TierFixture.AssertContent(lease);
            }
        }

        Assert.Equal(0, fixture.Store.GetStatistics().Writing);
        Assert.False(fixture.Tier.IsOpen);
    }

    private static void Damage(RedisProcess redis, string name, int block, KvLayout layout)
    {
        var content = new byte[layout.BlockBytes];
        TierFixture.Fill(content, TierFixture.Key(block));
        var last = PayloadFormat.HeadBytes(layout) + layout.BlockBytes - 1;
        redis.Command("SETRANGE", name, last.ToString(CultureInfo.InvariantCulture), content[^1] == '?' ? "!" : "?");
    }

    [Fact]
    public async Task A_payload_that_was_asked_for_on_a_connection_that_broke_is_asked_for_again()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, configure: options => options.Readers = 1);
        BlockKey[] keys = [TierFixture.Key(1), TierFixture.Key(2), TierFixture.Key(3)];
        foreach (var key in keys)
            await fixture.PersistAsync(key, Layout);
        Assert.Equal(PromoteOutcome.Absent, await fixture.PromoteAsync(TierFixture.Key(4), Layout)); // the connection exists
        proxy.Replies.HoldAfter(1_000_000);
        var promotions = keys.Select(key => fixture.Tier.PromoteAsync(key, Layout, TestContext.Current.CancellationToken)).ToList();
        await Eventually.TrueAsync("a part of the first block has come", () => proxy.Replies.Reached);
        Assert.NotEqual(":0", redis.Command("CLIENT", "KILL", "TYPE", "normal"));
        proxy.Replies.Release();
        foreach (var (outcome, lease) in await Task.WhenAll(promotions))
        {
            Assert.Equal(PromoteOutcome.Promoted, outcome);
            using (lease)
                TierFixture.AssertContent(lease!);
        }
    }

    [Fact]
    public async Task A_delete_wins_over_a_payload_that_was_asked_for_ahead()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, configure: options => options.Readers = 1);
        BlockKey[] keys = [TierFixture.Key(1), TierFixture.Key(2)];
        foreach (var key in keys)
            await fixture.PersistAsync(key, Layout);
        proxy.Replies.HoldAfter(1_000_000);
        var promotions = keys.Select(key => fixture.PromoteAsync(key, Layout)).ToList();
        await Eventually.TrueAsync("a part of the first block has come", () => proxy.Replies.Reached);
        var delete = fixture.Tier.DeleteAsync([keys[1]], TestContext.Current.CancellationToken);
        proxy.Replies.Release();
        Assert.Equal([PromoteOutcome.Promoted, PromoteOutcome.Deleted], await Task.WhenAll(promotions));
        Assert.True(await delete);
        Assert.False(fixture.Store.Contains(keys[1]));
    }
}
