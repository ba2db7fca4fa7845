namespace KvCache.Bench.Reports.Html;

/// <summary>A logarithmic axis from one pixel to another.</summary>
internal sealed class LogAxis : IPlotAxis
{
    private const int MostTicks = 7;
    private readonly double _low, _high;
    private readonly int _start, _pixels;

    /// <param name="least">Least positive value.</param>
    /// <param name="greatest">Greatest value.</param>
    /// <param name="start">Pixel of the axis' start.</param>
    /// <param name="pixels">Its length.</param>
    public LogAxis(double least, double greatest, int start, int pixels)
    {
        // Air on both sides, so that no point lies on the frame.
        (_low, _high) = (Math.Log10(least) - 0.08, Math.Log10(greatest) + 0.08);
        (_start, _pixels) = (start, pixels);
        Ticks = FindTicks();
    }

    /// <summary>Round values within the axis: 1, 2 and 5 times powers of ten, or powers alone where those are too many.</summary>
    public IReadOnlyList<double> Ticks { get; }

    public double At(double value) => _start + ((Math.Log10(value) - _low) / (_high - _low) * _pixels);

    public bool Has(double value) => value > 0;

    private List<double> FindTicks()
    {
        foreach (var steps in new[] { new[] { 1.0, 2, 5 }, [1.0, 3], [1.0] })
        {
            var ticks = new List<double>();
            for (var power = Math.Floor(_low); power <= _high; power++)
                ticks.AddRange(
                    steps.Select(step => step * Math.Pow(10, power)).Where(tick => Math.Log10(tick) >= _low && Math.Log10(tick) <= _high));
            if (ticks.Count <= MostTicks || steps.Length == 1)
                return ticks;
        }

        return [];
    }
}
