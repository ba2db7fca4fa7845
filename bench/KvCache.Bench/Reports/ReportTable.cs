using System.Globalization;
using Spectre.Console;

namespace KvCache.Bench.Reports;

/// <summary>The human form of a report.</summary>
internal static class ReportTable
{
    public static void Write(BenchReport report, IAnsiConsole console)
    {
        // What reads a pipe has no width; names that are cut at the width of an old terminal cannot be searched for.
        if (!console.Profile.Out.IsTerminal)
            console.Profile.Width = 160;
        foreach (var part in report.Reports ?? [report])
            WriteOne(part, console);
    }

    private static void WriteOne(BenchReport report, IAnsiConsole console)
    {
        if (report.Skipped is { } reason)
        {
            console.WriteLine($"{report.Scenario}: SKIPPED: {reason}");
            return;
        }

        console.WriteLine($"{report.Scenario}: {report.Rounds} rounds, {report.Machine.Cpus} CPUs, {report.Machine.MemoryGib} GiB");
        if (report.Summary is { } summary)
        {
            var table = new Table().RoundedBorder().AddColumn(summary.Columns[0]);
            foreach (var column in summary.Columns.Skip(1))
                table.AddColumn(Right(column));
            console.Write(Fill(table, summary.Lines, line => [.. line]));
            return;
        }

        var rates = report.Rows.OfType<RateRow>().ToList();
        if (rates.Count > 0)
            console.Write(
                Fill(NewTable("row", "unit"), rates,
                r => [r.Name, Size(r.Bytes, r.Batch), $"{r.Connections}", r.Unit, Figure(r.Median), Figure(r.Min), Figure(r.Max)]));
        var simulated = report.Rows.OfType<SimulationRow>().ToList();
        if (simulated.Count > 0)
            console.Write(
                Fill(NewSimulationTable(), simulated,
                r => [r.Name, r.Trace, $"{r.Capacity}", $"{r.Hits}", $"{r.Accesses}",
                r.Ratio.ToString("0.0000", CultureInfo.InvariantCulture), r.GapClosed?.ToString("0.0 %", CultureInfo.InvariantCulture)
                ?? ""]));
        if (report.Ratios is { Count: > 0 } ratios)
            console.Write(
                Fill(NewTable("ratio", null), ratios,
                r => [r.Name, Size(r.Bytes, r.Batch), $"{r.Connections}", Figure(r.Median), Figure(r.Min), Figure(r.Max)]));
    }

    internal static string Size(long? bytesOfBlock, int? batch)
    {
        if (bytesOfBlock is not { } bytes)
            return batch is { } count ? $"{count} blocks" : "";
        var size = bytes % (1 << 20) == 0 ? $"{bytes >> 20} MiB" : bytes % (1 << 10) == 0 ? $"{bytes >> 10} KiB" : $"{bytes} B";
        return batch is { } blocks ? $"{blocks} x {size}" : size;
    }

    private static Table NewTable(string name, string? unit)
    {
        var table = new Table().RoundedBorder().AddColumn(name).AddColumn(Right("size")).AddColumn(Right("conn."));
        if (unit is not null)
            table.AddColumn(unit);
        return table.AddColumn(Right("median")).AddColumn(Right("min")).AddColumn(Right("max"));
    }

    private static Table NewSimulationTable() => new Table().RoundedBorder().AddColumn("policy").AddColumn("trace")
        .AddColumn(Right("capacity")).AddColumn(Right("hits")).AddColumn(Right("accesses")).AddColumn(Right("ratio"))
            .AddColumn(Right("of LRU→MIN"));

    private static TableColumn Right(string title) => new TableColumn(title).RightAligned();

    private static Table Fill<T>(Table table, IEnumerable<T> rows, Func<T, string[]> cells)
    {
        foreach (var row in rows)
            table.AddRow([.. cells(row).Select(Markup.Escape)]);
        return table;
    }

    // Shares and prices differ in the third decimal.
    private static string Figure(double value) => value.ToString(Math.Abs(value) < 1 ? "0.000" : "0.00", CultureInfo.InvariantCulture);
}
