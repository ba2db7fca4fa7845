using System.Globalization;
using System.Text.Json;
using KvCache.InferenceNode;
using Spectre.Console;

namespace KvCache.QuickStart;

/// <summary>Shows what a demonstration showed.</summary>
/// <param name="console">Where to.</param>
internal sealed class Report(IAnsiConsole console)
{
    /// <summary>Shows what was gained, without what the caches counted.</summary>
    public void ShowGain(DemoOutcome outcome)
    {
        console.Write(Prompts(outcome.Rows));
        console.WriteLine();
    }

    /// <summary>Shows what each feature did.</summary>
    public void Show(IReadOnlyList<CheckedFeature> features)
    {
        console.WriteLine();
        var table = new Table().RoundedBorder().AddColumn("check-up").AddColumn("").AddColumn("seen");
        foreach (var feature in features)
            table.AddRow(feature.Feature, feature.Passed ? "[green]pass[/]" : "[red]fail[/]", Markup.Escape(feature.Seen));
        console.Write(table);
        console.WriteLine();
    }

    /// <summary>Shows all of it.</summary>
    public void Show(DemoOutcome outcome, long siloMemory)
    {
        console.Write(Prompts(outcome.Rows));
        console.MarkupLine(
            "[grey]TTFT: time to the first token. Cold: nothing came from the cache. Warm: in another process, through the cache.[/]");
        console.WriteLine();
        console.Write(Statistics(outcome, siloMemory));
        console.WriteLine();
        console.WriteLine($"identical: {YesNo(outcome.Identical)}");
        console.WriteLine($"control: zeroed KV changes the text: {YesNo(outcome.ControlChanged == true)}");
        if (!outcome.Hit)
            console.MarkupLine("[red]Nothing was found in the cache; the first prompt should have been.[/]");
    }

    private static Table Prompts(IReadOnlyList<DemoRow> rows)
    {
        var table = new Table().RoundedBorder().AddColumn("prompt");
        foreach (var title in (string[])["prompt tokens", "hit tokens", "TTFT cold", "TTFT warm", "loaded", "stored", "identical"])
            table.AddColumn(new TableColumn(title).RightAligned());
        foreach (var row in rows)
        {
            var shown = row.Warm ?? row.Cold;
            table.AddRow(
                Markup.Escape(row.Name),
                Text($"{shown.PromptTokens}"),
                Text($"{shown.HitTokens}"),
                Text($"{row.Cold.TtftMs:F1} ms"),
                row.Warm is null ? "" : Text($"{row.Warm.TtftMs:F1} ms"),
                Size(shown.LoadedBytes),
                Size(shown.StoredBytes),
                row.Identical ? "[green]yes[/]" : "[red]no[/]");
        }

        return table;
    }

    private static Table Statistics(DemoOutcome outcome, long siloMemory)
    {
        var client = outcome.Statistics;
        var warm = outcome.Rows.Select(row => row.Warm).OfType<PromptResult>().ToList();
        var (hit, all) = (warm.Sum(result => result.HitTokens), warm.Sum(result => result.PromptTokens));
        var table = new Table().RoundedBorder().AddColumn("statistics").AddColumn("warm node").AddColumn("silo");
        table.AddRow("hit rate, tokens", Text($"{hit} of {all} ({(double)hit / all:P0})"), "");

        // A load asks only for what a match found, so that this is below 100 % only if blocks go in between.
        table.AddRow(
            "blocks loaded", Text($"{client.Hits} of {client.Hits + client.Misses.Values.Sum()} ({client.HitRate:P0})"),
            Text($"{OfSilo(client, "readBlocks")}, {OfSilo(client, "missedBlocks")} missed"));
        table.AddRow("blocks stored", Text($"{client.Stored}"), Text($"{OfSilo(client, "writtenBlocks")}"));
        table.AddRow("bytes moved", $"{Size(client.LoadedBytes)} loaded, {Size(client.StoredBytes)} stored", "");
        table.AddRow("match, p50 / p99", Times(client.Match), "");
        table.AddRow("load, p50 / p99", Times(client.Load), "");
        table.AddRow("store, p50 / p99", Times(client.Store), "");
        table.AddRow("block memory", Size(client.MemoryBytes), Size(OfSilo(client, "usedBytes")));
        table.AddRow("process memory", "", Size(siloMemory));
        return table;
    }

    // What the silo tells a tenant of its own account; 0 where no silo answered.
    private static long OfSilo(KvCacheStatistics statistics, string name) =>
        statistics.Silo is { ValueKind: JsonValueKind.Object } silo ? silo.GetProperty(name).GetInt64() : 0;

    private static string Times(LatencySummary latency) =>
        Text($"{latency.P50.TotalMilliseconds:F2} / {latency.P99.TotalMilliseconds:F2} ms ({latency.Count} calls)");

    private static string Size(long bytes) => new ByteSize(bytes).ToString();

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string YesNo(bool value) => value ? "yes" : "no";
}
