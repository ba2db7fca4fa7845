using System.Globalization;
using System.Net;
using System.Text;

namespace KvCache.Bench.Reports.Html;

/// <summary>A report as one HTML page that needs nothing else: plots are inline SVG, there are no scripts, fonts or images.</summary>
internal static class HtmlReport
{
    private const string Style = """
        :root { color-scheme: light dark; --ink: #1b1f24; --faint: #8a929c; --line: #e3e6ea; --paper: #fff; --mark: #1f6feb; --warn: #9a6700; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --faint: #8a929c; --line: #31363d; --paper: #14171a; --mark: #6aa5ff; --warn: #e3b341; } }
        body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60em; margin: 2em auto; padding: 0 1em; }
        h2 { margin-top: 2.5em; border-top: 1px solid var(--line); padding-top: 1em; }
        h3 { font-size: 1em; margin: 2em 0 .5em; }
        svg { width: 100%; height: auto; display: block; }
        svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
        svg .tick { fill: var(--faint); font-size: 11px; }
        svg .value { font-variant-numeric: tabular-nums; }
        svg .grid { stroke: var(--line); }
        svg .reference { stroke: var(--ink); stroke-dasharray: 4 3; }
        svg .range { stroke: var(--mark); stroke-width: 3; stroke-linecap: round; opacity: .45; }
        svg circle { fill: var(--mark); }
        svg polyline { fill: none; stroke-width: 2; }
        svg circle.curve0, svg circle.curve1, svg circle.curve2, svg circle.curve3, svg circle.curve4, svg circle.curve5 { fill: none; stroke-width: 2; }
        .curve0 { stroke: #1f6feb; } .curve1 { stroke: #d9730d; } .curve2 { stroke: #2da44e; } .curve3 { stroke: #8250df; } .curve4 { stroke: #cf222e; } .curve5 { stroke: #6e7781; }
        table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
        th, td { text-align: right; padding: .2em .6em; border-bottom: 1px solid var(--line); }
        th:first-child, td:first-child { text-align: left; }
        code { background: var(--line); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
        .skipped { color: var(--warn); font-weight: 600; }
        summary { color: var(--faint); cursor: pointer; margin-top: 1.5em; }
        """;

    /// <summary>Writes <c>report.html</c> into a folder, which is created where it is missing.</summary>
    /// <returns>Path of the page.</returns>
    public static string Write(BenchReport report, DirectoryInfo folder, ReportOrigin origin)
    {
        folder.Create();
        var path = Path.Combine(folder.FullName, "report.html");
        File.WriteAllText(path, Render(report, origin));
        return path;
    }

    internal static string Render(BenchReport report, ReportOrigin origin)
    {
        var page = new StringBuilder();
        page.Append(CultureInfo.InvariantCulture, $"""
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>KvCache benchmark: {Encode(report.Scenario)}</title>
            <style>{Style}</style></head><body>
            <h1>KvCache benchmark</h1>
            <p>{origin.Time.ToUniversalTime():yyyy-MM-dd HH:mm} UTC, {report.Machine.Cpus} CPUs, {report.Machine.MemoryGib} GiB. {Encode(origin.Machine)}</p>
            <p>Points are medians of the rounds, lines reach from the least to the greatest round. Absolute figures of one run say little: read the ratios, which were taken
            round by round. <code>docs/benchmarks.md</code> says what each row is.</p>
            <p>To run it again, in the repository: <code>dotnet run -c Release --project bench/KvCache.Bench -- {Encode(origin.Command)}</code></p>
            """);
        foreach (var part in report.Reports ?? [report])
            AppendScenario(page, part, origin.Descriptions.GetValueOrDefault(part.Scenario));
        return page.Append("</body></html>\n").ToString();
    }

    private static void AppendScenario(StringBuilder page, BenchReport report, string? description)
    {
        page.Append(CultureInfo.InvariantCulture, $"<h2>{Encode(report.Scenario)}</h2><p>{Encode(description ?? "")}</p>\n");
        if (report.Skipped is { } reason)
        {
            page.Append(CultureInfo.InvariantCulture, $"<p class=\"skipped\">SKIPPED: {Encode(reason)}</p>\n");
            return;
        }

        page.Append(CultureInfo.InvariantCulture, $"<p>{report.Rounds} round{(report.Rounds == 1 ? "" : "s")}</p>\n");
        if (report.Summary is { } summary)
        {
            page.Append("<table>");
            Cells(page, "th", summary.Columns);
            foreach (var line in summary.Lines)
                Cells(page, "td", line);
            page.Append("</table>\n");
        }

        foreach (var plot in report.Rows.OfType<RateRow>().GroupBy(row => (row.Unit, Case: Case(row.Bytes, row.Batch, row.Connections))))
        {
            Heading(page, plot.Key.Unit, plot.Key.Case);
            page.Append(RangePlot.Draw([.. plot.Select(row => new RangeMark(row.Name, row.Median, row.Min, row.Max))], plot.Key.Unit));
        }

        foreach (var plot in (report.Ratios ?? []).GroupBy(row => Case(row.Bytes, row.Batch, row.Connections)))
        {
            Heading(page, "ratios", plot.Key);
            page.Append(RangePlot.Draw([.. plot.Select(row => new RangeMark(row.Name, row.Median, row.Min, row.Max))], "", reference: 1));
        }

        foreach (var trace in report.Rows.OfType<SimulationRow>().GroupBy(row => row.Trace))
        {
            Heading(page, "hit ratio", trace.Key);
            page.Append(CurvePlot.Draw(
                [.. trace.GroupBy(row => row.Name)
                .Select(policy => new Curve(policy.Key, [.. policy.Select(row => ((double)row.Capacity, row.Ratio))]))]));
        }

        AppendTable(page, report);
    }

    private static void AppendTable(StringBuilder page, BenchReport report)
    {
        page.Append("<details><summary>All "
            + "figures</summary><table><tr><th>name</th><th>case</th><th>unit</th><th>median</th><th>min</th><th>max</th></tr>\n");
        foreach (var row in report.Rows)
        {
            if (row is RateRow rate)
                Line(rate.Name, Case(rate.Bytes, rate.Batch, rate.Connections), rate.Unit, rate.Median, rate.Min, rate.Max);
            else if (row is SimulationRow simulated)
                Line(simulated.Name, $"{simulated.Trace}, {simulated.Capacity} blocks", "hit ratio", simulated.Ratio, simulated.Ratio,
                    simulated.Ratio);
        }

        foreach (var ratio in report.Ratios ?? [])
            Line(ratio.Name, Case(ratio.Bytes, ratio.Batch, ratio.Connections), "ratio", ratio.Median, ratio.Min, ratio.Max);
        page.Append("</table></details>\n");

        void Line(string name, string size, string unit, double median, double min, double max) => page.Append(
            CultureInfo.InvariantCulture,
            $"<tr><td>{Encode(name)}</td><td>{Encode(size)}</td><td>{Encode(unit)}</td><td>{median:0.####}</td><td>{min:0.####}</td><td>{max:0.####}</td></tr>\n");
    }

    private static void Cells(StringBuilder page, string tag, IEnumerable<string> cells) =>
        page.Append("<tr>").AppendJoin("", cells.Select(cell => $"<{tag}>{Encode(cell)}</{tag}>")).Append("</tr>\n");

    private static void Heading(StringBuilder page, string what, string of) =>
        page.Append(CultureInfo.InvariantCulture, $"<h3>{Encode(what)}{(of.Length > 0 ? " · " : "")}{Encode(of)}</h3>\n");

    private static string Case(long? bytes, int? batch, int connections)
    {
        var size = ReportTable.Size(bytes, batch);
        return $"{size}{(size.Length > 0 ? ", " : "")}{connections} connection{(connections == 1 ? "" : "s")}";
    }

    private static string Encode(string text) => WebUtility.HtmlEncode(text);
}
