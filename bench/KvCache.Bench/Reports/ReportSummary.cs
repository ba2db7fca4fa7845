namespace KvCache.Bench.Reports;

/// <summary>What a reader looks at first: one line for each thing that is compared. The figures behind it are the report's rows.</summary>
/// <param name="Columns">Headings; the first one names the things.</param>
/// <param name="Lines">A cell for each column.</param>
internal sealed record ReportSummary(IReadOnlyList<string> Columns, IReadOnlyList<IReadOnlyList<string>> Lines);
