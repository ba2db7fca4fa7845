using KvCache.Bench.Reports;

namespace KvCache.Bench.Measuring;

/// <summary>The percentiles of one operation, round by round.</summary>
internal sealed class TailFigures(string name)
{
    private static readonly (string Suffix, double Share)[] Percentiles = [("", 0.5), (".p95", 0.95), (".p99", 0.99), (".p999", 0.999)];
    private readonly List<double>[] _rounds = [.. Percentiles.Select(_ => new List<double>())];

    /// <summary>The 99th percentile of every round, in microseconds.</summary>
    public IReadOnlyList<double> P99 => _rounds[2];

    /// <summary>Adds a round and empties the samples.</summary>
    public void Add(LatencySamples samples)
    {
        for (var i = 0; i < Percentiles.Length; i++)
            _rounds[i].Add(samples.Microseconds(Percentiles[i].Share));
        samples.Clear();
    }

    /// <summary>One row a percentile; the median has the name alone.</summary>
    public IEnumerable<BenchRow> Rows(RowShape shape) =>
        Percentiles.Select((percentile, i) => shape.Row(name + percentile.Suffix, _rounds[i]));
}
