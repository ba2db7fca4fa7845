using KvCache.Bench.Roi;

namespace KvCache.BenchTests;

public sealed class ReturnModelTests
{
    // A token is computed in 100 us and loaded in 10 us; the look-up is free, and so is memory.
    private static readonly ReturnModel Free = new(10_000, 1000, 1e8, 0, 3.6, 0);

    [Fact]
    public void Without_hits_nothing_is_gained_and_with_nothing_but_hits_what_loading_leaves()
    {
        Assert.Equal(0.1, Free.LoadShare, 9);
        Assert.Equal(1, Free.Throughput(1000, 0), 9);
        Assert.Equal(10, Free.Throughput(1000, 1), 9);
        Assert.Equal(0.1, Free.ColdPrice, 9); // 100 s of a node that costs a tenth of a cent a second
        Assert.Equal(0.01, Free.WarmPrice(1000, 1), 9);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    [InlineData(9.9)]
    public void The_hit_rate_for_a_factor_gives_that_factor(double factor) =>
        Assert.Equal(factor, Free.Throughput(1000, Free.HitRateFor(1000, factor)!.Value), 6);

    [Fact]
    public void What_no_hit_rate_gives_is_not_promised()
    {
        Assert.Null(Free.HitRateFor(1000, 20));
        Assert.Null((Free with { BytesPerSecond = 1e6 }).BreakEven(1000));
    }

    [Fact]
    public void A_cache_pays_when_it_saves_what_its_memory_costs()
    {
        var paid = Free with { MemoryPerHour = 0.9 };
        var even = paid.BreakEven(1000)!.Value;

        Assert.Equal(paid.ColdPrice, paid.WarmPrice(1000, even), 9);
        Assert.True(paid.WarmPrice(1000, even + 0.01) < paid.ColdPrice);
    }
}
