using KvCache.Bench.Measuring;

namespace KvCache.Bench.Reports;

/// <summary>What the rows of one case have in common; see <see cref="RateRow"/>.</summary>
internal sealed record RowShape(string Unit, long? Bytes, int Connections, int? Batch = null)
{
    /// <summary>The row of a contender, or of anything else that has a figure for every round.</summary>
    public RateRow Row(string name, IReadOnlyList<double> figures)
    {
        var summary = Summary.Of(figures).Rounded();
        return new RateRow(name, Bytes, Connections, Batch, Unit, summary.Median, summary.Min, summary.Max);
    }

    /// <summary>Two of them compared round by round.</summary>
    public RatioRow Ratio(string name, IReadOnlyList<double> figures, IReadOnlyList<double> yardstick)
    {
        var ratio = Summary.OfRatios(figures, yardstick).Rounded();
        return new RatioRow(name, Bytes, Connections, Batch, ratio.Median, ratio.Min, ratio.Max);
    }
}

/// <summary>Turns the figures of interleaved rounds into rows and ratios.</summary>
internal static class RoundRows
{
    public static void Add(
        IReadOnlyList<IContender> contenders, double[][] figures, RowShape shape, List<BenchRow> rows, List<RatioRow> ratios)
    {
        for (var i = 0; i < contenders.Count; i++)
        {
            var name = contenders[i].Name;
            rows.Add(shape.Row(name, figures[i]));
            foreach (var yardstick in contenders[i].ComparedWith)
            {
                for (var other = 0; other < contenders.Count; other++)
                {
                    if (contenders[other].Name == yardstick)
                        ratios.Add(shape.Ratio($"{name}/{yardstick}", figures[i], figures[other]));
                }
            }
        }
    }
}
