using System.Globalization;
using System.Net;
using System.Text;

namespace KvCache.Bench.Reports.Html;

/// <summary>A named curve: a share by a size.</summary>
internal sealed record Curve(string Label, IReadOnlyList<(double X, double Share)> Points);

/// <summary>Shares, 0 to 1, by a size on a logarithmic axis, as inline SVG; curves are told apart by colour, mark and legend.</summary>
internal static class CurvePlot
{
    private const int Left = 60, Width = 560, Height = 300, Bottom = 30, LegendWidth = 180;

    public static string Draw(IReadOnlyList<Curve> curves)
    {
        var sizes = curves.SelectMany(curve => curve.Points.Select(point => point.X)).ToList();
        var top = Math.Max(0.05, Math.Ceiling(curves.SelectMany(curve => curve.Points.Select(point => point.Share)).Max() * 20) / 20);
        var axis = new LogAxis(sizes.Min(), sizes.Max(), Left, Width);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"""<svg viewBox="0 0 {Left + Width + LegendWidth} {Height + Bottom}" role="img">""");
        for (var share = 0.0; share <= top + 1e-9; share += top / 5)
        {
            svg.Append(CultureInfo.InvariantCulture,
                $"""<line class="grid" x1="{Left}" x2="{Left + Width}" y1="{At(share):0.#}" y2="{At(share):0.#}"/>""");
            svg.Append(CultureInfo.InvariantCulture,
                $"""<text class="tick" x="{Left - 8}" y="{At(share) + 4:0.#}" text-anchor="end">{share:0.00}</text>""");
        }

        foreach (var size in sizes.Distinct())
            svg.Append(CultureInfo.InvariantCulture,
                $"""<text class="tick" x="{axis.At(size):0.#}" y="{Height + 20}" text-anchor="middle">{size:0} blocks</text>""");
        for (var i = 0; i < curves.Count; i++)
            Append(svg, axis, curves[i], i, At);
        return svg.Append("</svg>").ToString();

        double At(double share) => Height - (share / top * (Height - 20));
    }

    private static void Append(StringBuilder svg, LogAxis axis, Curve curve, int index, Func<double, double> at)
    {
        var style = $"curve{index % 6}";
        var points = curve.Points.Select(
            point => string.Create(CultureInfo.InvariantCulture, $"{axis.At(point.X):0.#},{at(point.Share):0.#}"));
        svg.Append(CultureInfo.InvariantCulture, $"""<polyline class="{style}" points="{string.Join(' ', points)}"/>""");
        foreach (var (x, share) in curve.Points)
            svg.Append(CultureInfo.InvariantCulture,
                $"""<circle class="{style}" cx="{axis.At(x):0.#}" cy="{at(share):0.#}" r="{3.5 + index:0.#}"/>""");
        var y = 20 + (index * 22);
        svg.Append(CultureInfo.InvariantCulture,
            $"""<circle class="{style}" cx="{Left + Width + 24}" cy="{y - 4}" r="{3.5 + index:0.#}"/>""");
        svg.Append(CultureInfo.InvariantCulture, $"""<text x="{Left + Width + 38}" y="{y}">{WebUtility.HtmlEncode(curve.Label)}</text>""");
    }
}
