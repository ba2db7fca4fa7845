using System.CommandLine;
using System.Globalization;
using KvCache.Bench.Cli;
using KvCache.Bench.Reports;
using KvCache.Bench.Simulation;
using KvCache.Bench.Workloads;

namespace KvCache.Bench.Disk;

/// <summary>What a disk below the memory adds: a trace through a store and real files, once without the disk and once with it.</summary>
internal sealed class ReplayScenario : Scenario
{
    private const int MadeUp = 3000;

    private readonly TraceSource _source = new("agents");

    private readonly Option<int> _arena = Count("--arena", "Blocks that the memory holds.", 1000);
    private readonly Option<int> _disk = Count("--disk", "Blocks that the disk has room for.", 10_000);
    private readonly Option<int> _bytes = Count("--block-bytes", "Bytes of a block; at least 16.", 64 << 10);
    private readonly Option<int> _requests = Count("--requests", "Requests at most, from the begin of the trace.", int.MaxValue);
    private readonly Option<int> _prefill = Count("--prefill", "Tokens that a node computes in a second, for the TTFT.", 10_000);

    private readonly Option<string> _path = new("--path")
    {
        Description = "Folder on the disk; a new one is made in it, and removed.",
        DefaultValueFactory = _ => Path.GetTempPath(),
    };

    private readonly Option<string> _hints = new("--hints")
    {
        Description = "Whether the store is told how answers ended.",
        HelpName = "on|off",
        DefaultValueFactory = _ => "on",
    };

    public ReplayScenario() => _hints.AcceptOnlyFromAmong("on", "off");

    public override string Name => "replay";

    public override string Description =>
        "A trace through the silo's store and disk tier: blocks with bytes, real files, hits by tier, with the disk and without.";

    public override IEnumerable<Option> Options => [.. _source.Options, _arena, _disk, _bytes, _path, _hints, _prefill, _requests];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var given = context.Arguments;
        if (_source.Missing(given) is { } missing)
            return BenchReport.OfSkipped(Name, missing, context.Log);
        var rows = new List<BenchRow>();
        var lines = new List<IReadOnlyList<string>>();
        foreach (var (name, requests) in _source.Read(given, MadeUp))
        {
            var trace = SimulatedTrace.Of(requests.Take(given.GetValue(_requests)));
            context.Log($"{name}: {trace.Requests.Count:N0} requests, {trace.Accesses:N0} blocks, {trace.Blocks:N0} different");
            foreach (var disk in new[] { 0, given.GetValue(_disk) })
                lines.Add(Replay(name, trace, disk, given, rows, context.Log, cancellation));
        }

        return new BenchReport(
            Name, 1, MachineInfo.Current, rows,
            Summary: new ReportSummary(
                ["trace", "memory", "disk", "hit ratio", "in memory", "on disk", "a block from disk", "mean TTFT", "written"], lines));
    }

    private IReadOnlyList<string> Replay(
        string name, SimulatedTrace trace, int disk, ParseResult given, List<BenchRow> rows, Action<string> log,
        CancellationToken cancellation)
    {
        var arena = given.GetValue(_arena);
        using var replay = new TieredReplay(
            given.GetRequiredValue(_path), given.GetValue(_bytes), arena, disk, trace.Requests[0].TokensPerBlock,
            given.GetValue(_hints) == "on");
        var (served, told) = (0, 0);
        foreach (var request in trace.Requests)
        {
            cancellation.ThrowIfCancellationRequested();
            replay.Serve(request);
            if (++served * 10 / trace.Requests.Count > told)
                log($"{++told * 10} %");
        }

        // What was measured for loading, and what the rest takes to compute.
        var hits = replay.MemoryHits + replay.DiskHits;
        var ratio = (double)hits / Math.Max(1, trace.Accesses);
        var ttft = (replay.MemoryTime + replay.DiskTime).TotalMilliseconds / served
            + (1000.0 * replay.MissedTokens / given.GetValue(_prefill) / served);
        var blockTime = replay.DiskHits == 0 ? 0 : replay.DiskTime.TotalMilliseconds / replay.DiskHits;
        var label = disk == 0 ? "memory" : "memory+disk";
        rows.Add(new SimulationRow(label, name, arena, hits, trace.Accesses, Math.Round(ratio, 4)));
        rows.Add(Rate($"{label}.hits.memory", "block", replay.MemoryHits));
        rows.Add(Rate($"{label}.hits.disk", "block", replay.DiskHits));
        rows.Add(Rate($"{label}.ttft", "ms", ttft));
        rows.Add(Rate($"{label}.written", "B", replay.WrittenBytes));
        return
        [
            name, Text(arena, "n0"), disk == 0 ? "none" : Text(disk, "n0"), Text(ratio, "0.000"),
            Text((double)replay.MemoryHits / Math.Max(1, trace.Accesses), "0.000"),
            Text((double)replay.DiskHits / Math.Max(1, trace.Accesses), "0.000"),
            replay.DiskHits == 0 ? "" : Text(blockTime, "0.00 ms"), Text(ttft, "0 ms"), new ByteSize(replay.WrittenBytes).ToString(),
        ];
    }

    private static RateRow Rate(string name, string unit, double value) => new(name, null, 1, null, unit, value, value, value);

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    private static Option<int> Count(string name, string description, int value)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => value };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < (name == "--block-bytes" ? 16 : 1))
                result.AddError($"{name} must be at least {(name == "--block-bytes" ? 16 : 1)}.");
        });
        return option;
    }
}
