using KvCache.Bench.Silos;

namespace KvCache.BenchTests;

public sealed class SiloMetricsTests
{
    private const string Scrape = """
        # TYPE requests_total counter
        requests_total{scope="a",type="get"} 12
        requests_total{scope="a",type="{put}"} 30 1764058000000
        other_total 7
        plain_total 4.5
        """;

    [Fact]
    public void Samples_of_one_counter_are_added_up() => Assert.Equal(42, SiloMetrics.Sum(Scrape, "requests_total"));

    [Fact]
    public void A_counter_needs_no_labels() => Assert.Equal(4.5, SiloMetrics.Sum(Scrape, "plain_total"));

    [Fact]
    public void What_was_never_counted_is_zero() => Assert.Equal(0, SiloMetrics.Sum(Scrape, "absent_total"));
}
