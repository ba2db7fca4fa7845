using System.Diagnostics;
using KvCache.Bench.Measuring;

namespace KvCache.BenchTests;

public sealed class LatencySamplesTests
{
    [Fact]
    public void A_share_is_the_nearest_rank()
    {
        var samples = WithMicroseconds(Enumerable.Range(1, 1000).Reverse());

        Assert.Equal(500, samples.Microseconds(0.5), 3);
        Assert.Equal(990, samples.Microseconds(0.99), 3);
        Assert.Equal(999, samples.Microseconds(0.999), 3);
        Assert.Equal(1000, samples.Microseconds(1), 3);
        Assert.Equal(1, samples.Microseconds(0), 3);
    }

    [Fact]
    public void Calls_that_come_later_are_sorted_in()
    {
        var samples = WithMicroseconds([3, 2]);
        Assert.Equal(3, samples.Microseconds(1), 3);
        samples.Add(WithMicroseconds([9, 1]));

        Assert.Equal(4, samples.Count);
        Assert.Equal(1, samples.Microseconds(0.25), 3);
        Assert.Equal(9, samples.Microseconds(1), 3);
    }

    [Fact]
    public void More_calls_than_the_first_array_holds_are_kept() =>
        Assert.Equal(100_000, WithMicroseconds(Enumerable.Range(1, 100_000)).Microseconds(1), 1);

    [Fact]
    public void No_calls_have_no_percentile()
    {
        var samples = WithMicroseconds([1]);
        samples.Clear();
        Assert.Throws<InvalidOperationException>(() => samples.Microseconds(0.5));
    }

    private static LatencySamples WithMicroseconds(IEnumerable<int> times)
    {
        var samples = new LatencySamples();
        foreach (var time in times)
            samples.AddTicks(time * Stopwatch.Frequency / 1_000_000);
        return samples;
    }
}
