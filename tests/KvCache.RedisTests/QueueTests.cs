using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class QueueTests
{
    private static readonly KvLayout Layout = TierFixture.LayoutOf(4 << 20);

    [Fact]
    public async Task Blocks_over_the_bound_are_dropped_and_counted_and_the_others_are_written()
    {
        using var redis = RedisProcess.Start();
        using var proxy = new RedisProxy(redis);
        await using var fixture = new TierFixture(proxy.Address, configure: options => options.MaxQueuedBytes = ByteSize.MiB(12));
        proxy.Requests.HoldAfter(100_000);
        for (var i = 0; i < 6; i++)
            fixture.Tier.Enqueue(fixture.Put(TierFixture.Key(i), Layout));
        Assert.Equal(3, fixture.Counters.PersistsWith(PersistOutcome.QueueFull));
        Assert.Equal(12 << 20, fixture.Counters.QueuedBytes);
        Assert.Equal(3, fixture.Store.GetStatistics().LeasedBlocks);
        var status = fixture.Tier.GetStatus();
        Assert.Equal(
            (3, 12 << 20, 12 << 20, false, null),
            (status.QueuedBlocks, status.QueuedBytes, status.MaxQueuedBytes, status.BreakerOpen, status.LastError));
        Assert.Equal([KeyValuePair.Create(PersistOutcome.QueueFull, 3L)], status.Dropped);
        proxy.Requests.Release();
        await Eventually.TrueAsync("the queue is empty", () => fixture.Counters.QueuedBytes == 0);
        Assert.Equal(0, fixture.Counters.QueuedBlocks);
        Assert.Equal(3, fixture.Counters.PersistsWith(PersistOutcome.Persisted));
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
    }

    [Fact]
    public async Task Stopping_writes_what_waits()
    {
        using var redis = RedisProcess.Start();
        var layout = TierFixture.LayoutOf(1 << 20);
        await using (var fixture = new TierFixture(redis.Tcp, configure: options =>
        {
            options.MaxQueuedBytes = ByteSize.MiB(32);
            options.DrainTimeout = TimeSpan.FromSeconds(30);
        }))
        {
            for (var i = 0; i < 16; i++)
                fixture.Tier.Enqueue(fixture.Put(TierFixture.Key(i), layout));
            await fixture.Tier.StopAsync(CancellationToken.None);
            Assert.Equal(16, fixture.Counters.PersistsWith(PersistOutcome.Persisted));
            fixture.Tier.Enqueue(fixture.Store.TryLease(TierFixture.Key(0))!);
            Assert.Equal(1, fixture.Counters.PersistsWith(PersistOutcome.Stopped));
            Assert.Equal(PromoteOutcome.Busy, await fixture.PromoteAsync(TierFixture.Key(20), layout));
        }

        Assert.Equal(":16", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task Moving_a_block_of_32_mib_allocates_less_than_8_kib()
    {
        const int Blocks = 8;
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp, arenaMib: 96);
        var layout = TierFixture.LayoutOf(32 << 20, layers: 64);
        var key = TierFixture.Key(1);
        await fixture.PersistAsync(key, layout);
        await fixture.PromoteAsync(key, layout);

        // The whole process is counted, as a block passes through several threads. What others allocate meanwhile only adds: the
        // block that was disturbed least tells what a block costs.
        var perBlock = long.MaxValue;
        for (var i = 0; i < Blocks; i++)
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            if (await fixture.WriteAsync(fixture.Store.TryLease(key)!) != PersistOutcome.Persisted)
                Assert.Fail("A block was not persisted.");
            fixture.Store.Remove(key);
            using (var lease = (await fixture.Tier.PromoteAsync(key, layout, CancellationToken.None)).Lease)
            {
                if (lease is null)
                    Assert.Fail("A block was not promoted.");
            }

            perBlock = Math.Min(perBlock, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        // Less than the smallest object of the large object heap, by far.
        TestContext.Current.SendDiagnosticMessage($"{perBlock} bytes allocated for each block of 32 MiB, both ways.");
        Assert.InRange(perBlock, 0, 8 << 10);
    }
}
