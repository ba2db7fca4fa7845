using System.Globalization;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>Reads what a silo's <c>/metrics</c> answers.</summary>
internal static class Metrics
{
    /// <summary>The one value of a metric.</summary>
    /// <param name="metrics">The answer.</param>
    /// <param name="name">Name of the metric, without the unit and <c>_total</c> that the exporter appends.</param>
    /// <param name="label">A label that the line must have, or empty.</param>
    public static double Value(string metrics, string name, string label)
    {
        var line = metrics.Split('\n').Single(text =>
            text.StartsWith(name, StringComparison.Ordinal)
            && (text[name.Length] is '{' or ' ' || text.AsSpan(name.Length).StartsWith("_total")
                || text.AsSpan(name.Length).StartsWith("_bytes"))
            && text.Contains(label, StringComparison.Ordinal));
        var value = line.AsSpan(
            line.IndexOf('}', StringComparison.Ordinal) is var end and >= 0 ? end + 1 : line.IndexOf(' ', StringComparison.Ordinal)).Trim();
        var stamp = value.IndexOf(' ');
        return double.Parse(stamp < 0 ? value : value[..stamp], CultureInfo.InvariantCulture);
    }
}
