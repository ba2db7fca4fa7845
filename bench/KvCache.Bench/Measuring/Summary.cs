namespace KvCache.Bench.Measuring;

/// <summary>Median, least and greatest of the rounds. No mean: one round that the machine's other tenants spoiled would move it.</summary>
internal readonly record struct Summary(double Median, double Min, double Max)
{
    /// <exception cref="ArgumentException">There is no value.</exception>
    public static Summary Of(IReadOnlyList<double> values)
    {
        if (values.Count == 0)
            throw new ArgumentException("A summary needs at least one round.", nameof(values));
        var sorted = values.Order().ToArray();
        var middle = sorted.Length / 2;
        var median = sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        return new Summary(median, sorted[0], sorted[^1]);
    }

    /// <summary>
    /// Compares two contenders round by round. The two runs of one round are neighbours in time and share its noise, so the
    /// median of these ratios is steadier than the ratio of the medians.
    /// </summary>
    /// <exception cref="ArgumentException">The contenders ran different numbers of rounds.</exception>
    public static Summary OfRatios(IReadOnlyList<double> values, IReadOnlyList<double> yardstick)
    {
        if (values.Count != yardstick.Count)
            throw new ArgumentException(
                $"Ratios are taken round by round: {values.Count} rounds cannot be compared with {yardstick.Count}.", nameof(yardstick));
        return Of([.. values.Zip(yardstick, (value, reference) => value / reference)]);
    }

    /// <summary>Three decimals: more would be noise in print.</summary>
    public Summary Rounded() => new(Math.Round(Median, 3), Math.Round(Min, 3), Math.Round(Max, 3));
}
