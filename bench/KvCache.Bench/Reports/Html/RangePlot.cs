using System.Globalization;
using System.Net;
using System.Text;

namespace KvCache.Bench.Reports.Html;

/// <summary>One line of a <see cref="RangePlot"/>: a point between its least and its greatest value.</summary>
internal sealed record RangeMark(string Label, double Median, double Min, double Max);

/// <summary>
/// Points with their ranges, as inline SVG: on a logarithmic axis where figures lie far apart, up to a thousandfold, otherwise on one that
/// begins at zero. Points rather than bars, as the length of a bar means nothing on an axis without zero.
/// </summary>
internal static class RangePlot
{
    private const int LeastLabelWidth = 270, MostLabelWidth = 430, Width = 790, ValueWidth = 90, RowHeight = 22, AxisHeight = 26,
        LongestSuffix = 5;
    private const double FarApart = 8, CharacterWidth = 6.8;

    /// <param name="marks">The lines, in order; on a logarithmic axis values that are not positive have no place and only show their
    /// number.</param>
    /// <param name="unit">Unit of the axis.</param>
    /// <param name="reference">Value at which a line is drawn, or null.</param>
    public static string Draw(IReadOnlyList<RangeMark> marks, string unit, double? reference = null)
    {
        var values = marks.SelectMany(mark => new[] { mark.Min, mark.Median, mark.Max }).Concat(reference is { } line ? [line] : [])
            .ToList();
        var left = Math.Clamp((int)(marks.Max(mark => mark.Label.Length) * CharacterWidth), LeastLabelWidth, MostLabelWidth);
        var axis = AxisFor(values, left);
        var height = (marks.Count * RowHeight) + AxisHeight;
        var suffix = unit.Length <= LongestSuffix ? $" {WebUtility.HtmlEncode(unit)}" : ""; // the heading names it too
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"""<svg viewBox="0 0 {Width + ValueWidth} {height}" role="img">""");
        foreach (var tick in axis.Ticks)
        {
            var x = axis.At(tick);
            svg.Append(CultureInfo.InvariantCulture,
                $"""<line class="grid" x1="{x:0.#}" x2="{x:0.#}" y1="0" y2="{height - AxisHeight}"/>""");
            svg.Append(CultureInfo.InvariantCulture,
                $"""<text class="tick" x="{x:0.#}" y="{height - 10}" text-anchor="middle">{tick:0.#####}{suffix}</text>""");
        }

        if (reference is { } at)
            svg.Append(CultureInfo.InvariantCulture,
                $"""<line class="reference" x1="{axis.At(at):0.#}" x2="{axis.At(at):0.#}" y1="0" y2="{height - AxisHeight}"/>""");
        for (var i = 0; i < marks.Count; i++)
            Append(svg, axis, marks[i], left, (i * RowHeight) + (RowHeight / 2));
        return svg.Append("</svg>").ToString();
    }

    private static IPlotAxis AxisFor(List<double> values, int left)
    {
        List<double> positive = [.. values.Where(value => value > 0)];
        return positive.Count > 0 && positive.Max() / positive.Min() > FarApart
            ? new LogAxis(positive.Min(), positive.Max(), left, Width - left)
            : new LinearAxis(values.Min(), values.Max(), left, Width - left);
    }

    private static void Append(StringBuilder svg, IPlotAxis axis, RangeMark mark, int left, int y)
    {
        svg.Append(CultureInfo.InvariantCulture,
            $"""<text x="{left - 10}" y="{y + 4}" text-anchor="end">{WebUtility.HtmlEncode(mark.Label)}</text>""");
        if (axis.Has(mark.Min))
            svg.Append(CultureInfo.InvariantCulture,
                $"""<line class="range" x1="{axis.At(mark.Min):0.#}" x2="{axis.At(mark.Max):0.#}" y1="{y}" y2="{y}"/>""");
        if (axis.Has(mark.Median))
            svg.Append(CultureInfo.InvariantCulture, $"""<circle cx="{axis.At(mark.Median):0.#}" cy="{y}" r="4.5"/>""");
        svg.Append(CultureInfo.InvariantCulture, $"""<text class="value" x="{Width + 12}" y="{y + 4}">{mark.Median:0.###}</text>""");
    }
}
