namespace KvCache.Bench.Reports.Html;

/// <summary>Where values lie in a plot.</summary>
internal interface IPlotAxis
{
    /// <summary>Round values within the axis.</summary>
    IReadOnlyList<double> Ticks { get; }

    /// <summary>Pixel of a value.</summary>
    double At(double value);

    /// <summary>Whether a value has a place.</summary>
    bool Has(double value);
}
