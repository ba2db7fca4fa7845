using KvCache.Bench.Reports;

namespace KvCache.BenchTests;

public sealed class BenchReportTests
{
    private static readonly MachineInfo Machine = new(2, 23);

    [Fact]
    public void The_report_has_exactly_the_documented_names_in_their_order()
    {
        var report = new BenchReport(
            "transfer",
            7,
            Machine,
            [new RateRow("get.tcp", 4194304, 1, null, "GiB/s", 3.1, 2.9, 3.3)],
            [new RatioRow("get.tcp/raw.get.tcp", 4194304, 1, null, 0.93, 0.9, 0.96)]);

        Assert.Equal(
            """{"scenario":"transfer","rounds":7,"machine":{"cpus":2,"memory_gib":23}""" +
            ""","rows":[{"name":"get.tcp","bytes":4194304,"connections":1,"unit":"GiB/s","median":3.1,"min":2.9,"max":3.3}]""" +
            ""","ratios":[{"name":"get.tcp/raw.get.tcp","bytes":4194304,"connections":1,"median":0.93,"min":0.9,"max":0.96}]}""",
            report.ToJson());
    }

    [Fact]
    public void A_batch_is_named_and_absent_ratios_are_left_out()
    {
        var report = new BenchReport("transfer", 1, Machine, [new RateRow("raw.get.tcp", 262144, 4, 64, "GiB/s", 5, 4, 6)]);

        Assert.Equal(
            """{"scenario":"transfer","rounds":1,"machine":{"cpus":2,"memory_gib":23}""" +
            ""","rows":[{"name":"raw.get.tcp","bytes":262144,"connections":4,"batch":64,"unit":"GiB/s","median":5,"min":4,"max":6}]}""",
            report.ToJson());
    }

    [Fact]
    public void Where_no_block_moves_there_are_no_bytes()
    {
        var report = new BenchReport(
            "lookup", 1, Machine, [new RateRow("match.tcp", null, 1, 512, "us", 60, 50, 70)],
            [new RatioRow("match.tcp/redis.exists.tcp", null, 1, 512, 0.5, 0.4, 0.6)]);

        Assert.Equal(
            """{"scenario":"lookup","rounds":1,"machine":{"cpus":2,"memory_gib":23}""" +
            ""","rows":[{"name":"match.tcp","connections":1,"batch":512,"unit":"us","median":60,"min":50,"max":70}]""" +
            ""","ratios":[{"name":"match.tcp/redis.exists.tcp","connections":1,"batch":512,"median":0.5,"min":0.4,"max":0.6}]}""",
            report.ToJson());
    }

    [Fact]
    public void A_simulation_has_rows_of_its_own()
    {
        var report = new BenchReport(
            "sim", 1, Machine, [new SimulationRow("lru", "conversation_trace.jsonl", 10000, 60921, 288500, 0.2112)]);

        Assert.Equal(
            """{"scenario":"sim","rounds":1,"machine":{"cpus":2,"memory_gib":23}""" +
            ""","rows":[{"name":"lru","trace":"conversation_trace.jsonl","capacity":10000,"hits":60921,"accesses":288500,"ratio":0.2112}]}""",
            report.ToJson());
    }
}
