using CsCheck;
using KvCache.Client.Caching;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LatencyHistogramTests
{
    // From a tenth of a microsecond to a quarter of an hour, every power of two as likely as another.
    private static readonly Gen<TimeSpan> Duration = Gen.Double[0, 33].Select(power => TimeSpan.FromTicks((long)Math.Pow(2, power)));

    [Fact]
    public void Percentiles_are_upper_bounds_and_at_most_a_quarter_too_large() =>
        Duration.Array[1, 300].Sample(durations =>
        {
            var histogram = new LatencyHistogram();
            foreach (var duration in durations)
                histogram.Record(duration);
            Array.Sort(durations);
            var summary = histogram.Summarize();
            Assert.Equal(durations.Length, summary.Count);
            CheckBound(0.50, summary.P50);
            CheckBound(0.99, summary.P99);
            CheckBound(1, summary.Max);
            Assert.True(summary.P50 <= summary.P99 && summary.P99 <= summary.Max);

            void CheckBound(double share, TimeSpan bound)
            {
                var actual = durations[(int)Math.Ceiling(durations.Length * share) - 1];
                var microseconds = Math.Ceiling(actual.TotalMicroseconds);
                Assert.InRange(bound, actual, TimeSpan.FromMicroseconds(microseconds * 1.25));
            }
        }, iter: 2000);

    [Fact]
    public void An_empty_histogram_says_zero() => Assert.Equal(default, new LatencyHistogram().Summarize());

    [Fact]
    public void What_lies_outside_of_the_range_is_counted_at_its_end()
    {
        var histogram = new LatencyHistogram();
        histogram.Record(TimeSpan.MaxValue);
        histogram.Record(-TimeSpan.FromSeconds(1));
        var summary = histogram.Summarize();
        Assert.Equal(2, summary.Count);
        Assert.InRange(summary.Max, TimeSpan.FromMinutes(17), TimeSpan.FromMinutes(18));
        Assert.Equal(TimeSpan.FromMicroseconds(1), summary.P50);
    }

    [Fact]
    public void No_record_of_two_threads_is_lost()
    {
        var histogram = new LatencyHistogram();
        Parallel.For(0, 20_000, i => histogram.Record(TimeSpan.FromMicroseconds(i)));
        Assert.Equal((20_000, TimeSpan.FromMicroseconds(19_999)), (histogram.Summarize().Count, histogram.Summarize().Max));
    }
}
