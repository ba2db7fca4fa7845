using KvCache.Engine.Storage;
using KvCache.Eviction;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What a store says of its forgetting.</summary>
public sealed class EvictionStatisticsTests
{
    private const int Pages = 64;

    [Fact]
    public void It_tells_when_blocks_come_back_how_old_they_go_and_what_was_missed()
    {
        using var fixture = new StoreFixture(Pages, new BlockStoreOptions());
        // 96 blocks in turns, one a second: each comes back after 96 s, and 64 fit.
        for (var step = 0; step < 3000; step++)
        {
            var key = step % 96;
            if (fixture.Store.TryLease(StoreFixture.Key(key)) is { } lease)
                lease.Dispose();
            else
                fixture.Put(key);
            fixture.Time.Advance(TimeSpan.FromSeconds(1));
        }

        var seen = fixture.Store.GetStatistics(fixture.Store.Accounts.Others).Eviction;
        Assert.InRange(seen.ReuseAge!.Value.P50, 60, 150);
        Assert.InRange(seen.EvictionAge!.Value.P50, 0.01, 150);
        Assert.InRange(seen.WantedAgain, 500, 3000);
        Assert.InRange(seen.Classes.Count, 1, EvictionStatistics.MostClasses);
        Assert.All(seen.Classes, learned => Assert.InRange(learned.UsedAgain, 0, 1));
        Assert.Contains("end not told", seen.Classes[0].What);
        // In turns, LRU hits nothing until all of them fit.
        Assert.Equal([0.5, 1, 2, 4], seen.Memory.Select(estimate => estimate.Times));
        Assert.All(seen.Memory.Take(2), estimate => Assert.InRange(estimate.HitRatio, 0, 0.1));
        Assert.All(seen.Memory.Skip(2), estimate => Assert.InRange(estimate.HitRatio, 0.9, 1));
    }

    [Fact]
    public void What_a_request_stores_behind_what_it_has_read_is_no_hit()
    {
        var curve = new MemoryCurve(100);
        var chain = Enumerable.Range(1, 10).Select(i => (ulong)i << 8).ToArray();
        var use = new ChainUse { Request = 1 };
        curve.Serve(chain, use, isPut: false); // the get asks for all
        curve.Serve(chain.AsSpan(4), use, isPut: true); // the put brings what it has not found
        curve.Serve(chain.AsSpan(0, 4), use with { Request = 7 }, isPut: true); // and so does that of a request of which nothing is known
        Assert.All(curve.Estimates, estimate => Assert.Equal(0, estimate.HitRatio));
        curve.Serve(chain, use with { Request = 2 }, isPut: false);
        Assert.All(curve.Estimates, estimate => Assert.Equal(0.5, estimate.HitRatio, 0.01));
    }

    [Fact]
    public void Memory_of_the_estimate_does_not_grow_with_the_store()
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var curve = new MemoryCurve(10_000_000);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 2 << 20);
        Assert.Empty(curve.Estimates);
    }

    [Fact]
    public void Classes_are_told_in_words()
    {
        var use = new ChainUse { End = AnswerEnd.ToolCall, SuffixTokens = 600, Gap = 10_000 };
        Assert.Equal(
            "tool call, 512 to 1023 tokens appended, used twice, chain rested 4 to 16 s",
            ReuseClass.Words(ReuseClass.Of(2, 1, false, default, use)));
        Assert.Equal(
            "end not told, fewer than 256 tokens appended, new in the 2. request of its chain, nothing of its chain known before, "
                + "priority or retention asked for",
            ReuseClass.Words(ReuseClass.Of(1, 2, false, KeepTerms.Of(90, default), new ChainUse { Gap = -1 })));
    }

    [Fact]
    public void Policies_that_learn_nothing_tell_only_of_memory()
    {
        using var fixture = new StoreFixture(4);
        for (var key = 0; key < 100; key++)
            fixture.Put(key % 6);
        var seen = fixture.Store.GetStatistics(fixture.Store.Accounts.Others).Eviction;
        Assert.Null(seen.ReuseAge);
        Assert.Empty(seen.Classes);
        Assert.Equal(4, seen.Memory.Count);
    }
}
