using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Bench.Cli;

namespace KvCache.Bench.Reports;

/// <summary>Everything that one scenario found; serializes to the one JSON object of <c>--json</c>.</summary>
/// <param name="Scenario">Name of the sub-command.</param>
/// <param name="Rounds">Interleaved rounds.</param>
/// <param name="Machine">Where it ran.</param>
/// <param name="Rows">Figures.</param>
/// <param name="Ratios">Comparisons; left out when there are none.</param>
/// <param name="Reports">Reports of several scenarios that ran one after the other; then the rows are theirs.</param>
/// <param name="Skipped">Why nothing was measured; left out when something was.</param>
/// <param name="Summary">What a reader sees instead of the rows; the rows are what <c>--json</c> has.</param>
internal sealed record BenchReport(
    string Scenario,
    int Rounds,
    MachineInfo Machine,
    IReadOnlyList<BenchRow> Rows,
    IReadOnlyList<RatioRow>? Ratios = null,
    IReadOnlyList<BenchReport>? Reports = null,
    string? Skipped = null,
    [property: JsonIgnore] ReportSummary? Summary = null)
{
    /// <summary>The report of a scenario that lacks what it needs here, which the log is told too.</summary>
    public static BenchReport OfSkipped(string scenario, string reason, Action<string> log)
    {
        log($"SKIPPED: {reason}");
        return new BenchReport(scenario, 0, MachineInfo.Current, [], Skipped: reason);
    }

    public string ToJson() => JsonSerializer.Serialize(this, BenchJson.Default.BenchReport);
}

/// <summary>The machine that the figures belong to: a figure without it means nothing.</summary>
internal sealed record MachineInfo(int Cpus, int MemoryGib)
{
    public static MachineInfo Current { get; } = new(
        Environment.ProcessorCount,
        (int)Math.Round(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1L << 30)));
}

/// <summary>One line of figures. Scenarios that measure something other than rates add their own kind of row.</summary>
[JsonDerivedType(typeof(RateRow))]
[JsonDerivedType(typeof(SimulationRow))]
internal abstract record BenchRow([property: JsonPropertyOrder(-1)] string Name);

/// <summary>Rounds of one contender in one case.</summary>
/// <param name="Name">Row name of docs/benchmarks.md, for example <c>raw.get.tcp</c>.</param>
/// <param name="Bytes">Bytes of one block; left out where no block moves.</param>
/// <param name="Connections">Connections that worked at the same time.</param>
/// <param name="Batch">Blocks of one request; left out when it is one.</param>
/// <param name="Unit">Unit of the three figures.</param>
internal sealed record RateRow(string Name, long? Bytes, int Connections, int? Batch, string Unit, double Median, double Min, double Max)
    : BenchRow(Name);

/// <summary>One eviction policy over one trace.</summary>
/// <param name="Name">The policy.</param>
/// <param name="Trace">File of the trace.</param>
/// <param name="Capacity">Blocks that the cache holds.</param>
/// <param name="Hits">Blocks that were found from the start of their request's chain on.</param>
/// <param name="Accesses">Blocks of all requests.</param>
/// <param name="Ratio">Hits by accesses.</param>
/// <param name="GapClosed">Share of the gap from tail-first LRU to the offline optimum that it closes; left out where there is
/// none.</param>
internal sealed record SimulationRow(
    string Name, string Trace, int Capacity, long Hits, long Accesses, double Ratio, double? GapClosed = null)
    : BenchRow(Name);

/// <summary>Two contenders of one case compared round by round.</summary>
internal sealed record RatioRow(string Name, long? Bytes, int Connections, int? Batch, double Median, double Min, double Max);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(BenchReport))]
internal sealed partial class BenchJson : JsonSerializerContext;
