using KvCache.Bench.Reports;
using KvCache.Bench.Reports.Html;
using KvCache.Testing;

namespace KvCache.BenchTests;

public sealed class HtmlReportTests
{
    private static readonly BenchReport Report = new(
        "all",
        7,
        new MachineInfo(2, 23),
        [],
        Reports:
        [
            new BenchReport(
                "transfer",
                7,
                new MachineInfo(2, 23),
                [new RateRow("get.tcp", 4194304, 1, null, "GiB/s", 3.1, 2.9, 3.3), new RateRow("<none>", null, 1, null, "us", 0, -1, 2)],
                [new RatioRow("get.tcp/raw.get.tcp", 4194304, 1, null, 0.93, 0.9, 0.96)]),
            new BenchReport(
                "sim", 1, new MachineInfo(2, 23),
                [new SimulationRow("lru", "a.jsonl", 1000, 1, 4, 0.25), new SimulationRow("lru", "a.jsonl", 3000, 2, 4, 0.5)]),
            new BenchReport("ttft", 0, new MachineInfo(2, 23), [], Skipped: "no model & no hope"),
        ]);

    private static readonly ReportOrigin Origin =
        new(DateTimeOffset.UnixEpoch, "all --traces 'my traces'", "A processor, load average at the end 1.5.",
        new Dictionary<string, string> { ["transfer"] = "How fast?" });

    [Fact]
    public void Every_figure_is_on_the_page()
    {
        var page = HtmlReport.Render(Report, Origin);
        foreach (var text in new[] { "get.tcp", "4 MiB, 1 connection", "get.tcp/raw.get.tcp", "3.1", "0.93", "a.jsonl", "lru",
            "3000 blocks", "1970-01-01", "-- all --traces &#39;my traces&#39;", "A processor", "How fast?",
            "SKIPPED: no model &amp; no hope" })
            Assert.Contains(text, page, StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_needs_nothing_else_and_runs_nothing()
    {
        var page = HtmlReport.Render(Report, Origin);
        foreach (var text in new[] { "http:", "https:", "src=", "href=", "url(", "@import", "<script" })
            Assert.DoesNotContain(text, page, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void Names_are_text_and_figures_without_a_place_on_the_axis_do_not_break_it()
    {
        var page = HtmlReport.Render(Report, Origin);
        Assert.Contains("&lt;none&gt;", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<none>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
        Assert.DoesNotContain("Infinity", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0.7, 1, "0 0.2 0.4 0.6 0.8 1")]
    [InlineData(-3, 40, "-10 0 10 20 30 40")]
    [InlineData(0, 0, "0 0.2 0.4 0.6 0.8 1")]
    public void An_axis_of_near_figures_begins_at_zero_or_below(double least, double greatest, string expected) =>
        Assert.Equal(
            expected, string.Join(
            ' ', new LinearAxis(least, greatest, 0, 100).Ticks.Select(
            tick => tick.ToString(System.Globalization.CultureInfo.InvariantCulture))));

    [Theory]
    [InlineData(0.5, 2, "0.5 1 2")]
    [InlineData(1, 1, "1")]
    [InlineData(1, 100_000, "1 10 100 1000 10000 100000")]
    public void Ticks_are_round(double least, double greatest, string expected) =>
        Assert.Equal(
            expected, string.Join(
            ' ', new LogAxis(least, greatest, 0, 100).Ticks.Select(
            tick => Math.Round(tick, 6).ToString(System.Globalization.CultureInfo.InvariantCulture))));
}
