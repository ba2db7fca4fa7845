using System.Globalization;
using System.Text;

namespace KvCache.Benchmarks;

/// <summary>What one way to keep KV did.</summary>
/// <param name="Strategy">Its name.</param>
/// <param name="HitRate">Share of the blocks that were loaded instead of computed.</param>
/// <param name="FirstTokenP50">Time to the first token that half of the requests did not exceed.</param>
/// <param name="FirstTokenP95">The same for 95 % of them.</param>
/// <param name="FirstTokenP99">The same for 99 %.</param>
/// <param name="RequestsPerSecond">Requests that a node finishes the prompts of in a second.</param>
/// <param name="LoadedBytes">Bytes that came out of caches.</param>
/// <param name="StoredBytes">Bytes that went into caches.</param>
/// <param name="Errors">Requests whose cache failed; they were computed whole.</param>
/// <param name="CostPerMillionTokens">Price of a million prompt tokens, memory included.</param>
public sealed record BenchmarkRow(
    string Strategy,
    double HitRate,
    TimeSpan FirstTokenP50,
    TimeSpan FirstTokenP95,
    TimeSpan FirstTokenP99,
    double RequestsPerSecond,
    long LoadedBytes,
    long StoredBytes,
    int Errors,
    double CostPerMillionTokens);

/// <summary>What a <see cref="KvCacheBenchmark"/> found.</summary>
/// <param name="Requests">Requests that were counted.</param>
/// <param name="Rows">One a strategy.</param>
public sealed record BenchmarkReport(int Requests, IReadOnlyList<BenchmarkRow> Rows)
{
    /// <summary>A table for people.</summary>
    public override string ToString()
    {
        string[] titles =
            ["strategy", "hit rate", "TTFT p50 ms", "p95", "p99", "requests/s", "loaded MiB", "stored MiB", "errors", "USD/Mtoken"];
        List<string[]> lines = [titles, .. Rows.Select(Line)];
        int[] widths = [.. titles.Select((_, column) => lines.Max(line => line[column].Length))];
        var text = new StringBuilder();
        foreach (var line in lines)
        {
            var cells = line.Select((cell, column) => column == 0 ? cell.PadRight(widths[0]) : cell.PadLeft(widths[column]));
            text.AppendJoin("  ", cells).AppendLine();
        }

        return text.ToString().TrimEnd();
    }

    private static string[] Line(BenchmarkRow row)
    {
        static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
        return
        [
            row.Strategy, Text(row.HitRate, "0.000"), Text(row.FirstTokenP50.TotalMilliseconds, "0.0"),
            Text(row.FirstTokenP95.TotalMilliseconds, "0.0"), Text(row.FirstTokenP99.TotalMilliseconds, "0.0"),
            Text(row.RequestsPerSecond, "0.000"), Text(row.LoadedBytes / 1048576.0, "0.0"), Text(row.StoredBytes / 1048576.0, "0.0"),
            Text(row.Errors, "0"), Text(row.CostPerMillionTokens, "0.0000"),
        ];
    }
}
