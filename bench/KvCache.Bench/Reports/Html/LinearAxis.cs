namespace KvCache.Bench.Reports.Html;

/// <summary>An axis from 0, or from a lesser value, to the greatest.</summary>
internal sealed class LinearAxis : IPlotAxis
{
    private const int Steps = 5;
    private readonly double _low, _high;
    private readonly int _start, _pixels;

    /// <param name="least">Least value.</param>
    /// <param name="greatest">Greatest value.</param>
    /// <param name="start">Pixel of the axis' start.</param>
    /// <param name="pixels">Its length.</param>
    public LinearAxis(double least, double greatest, int start, int pixels)
    {
        (least, greatest) = (Math.Min(0, least), Math.Max(0, greatest));
        if (least == greatest)
            greatest = 1;
        var step = RoundUp((greatest - least) / Steps);
        (_low, _high) = (Math.Floor(least / step) * step, Math.Ceiling(greatest / step) * step);
        (_start, _pixels) = (start, pixels);
        Ticks = [.. Enumerable.Range(0, (int)Math.Round((_high - _low) / step) + 1).Select(tick => Math.Round(_low + (tick * step), 9))];
    }

    public IReadOnlyList<double> Ticks { get; }

    public double At(double value) => _start + ((value - _low) / (_high - _low) * _pixels);

    public bool Has(double value) => true;

    // 1, 2 or 5 times a power of ten.
    private static double RoundUp(double step)
    {
        var power = Math.Pow(10, Math.Floor(Math.Log10(step)));
        return new[] { 1, 2, 5, 10 }.Select(factor => factor * power).First(round => round >= step * (1 - 1e-9));
    }
}
