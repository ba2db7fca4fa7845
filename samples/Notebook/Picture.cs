using ScottPlot;

namespace KvCache.Notebook;

/// <summary>
/// Plots as SVG. Each is written into the folder that <see cref="FolderVariable"/> names, else into one below the temporary files. A line of the
/// output names it, and one of the error output says where it is.
/// </summary>
public static class Picture
{
    /// <summary>Environment variable of the folder for pictures.</summary>
    public const string FolderVariable = "KVCACHE_PICTURES";

    private const int Width = 680, Height = 340;
    private static readonly Color Blue = Color.FromHex("#2f6fb2");

    /// <summary>Bars with their values.</summary>
    /// <param name="name">Name of the file.</param>
    /// <param name="title">What is seen.</param>
    /// <param name="unit">Of the values.</param>
    /// <param name="bars">Label and value of every bar.</param>
    public static void Bars(string name, string title, string unit, params (string Label, double Value)[] bars)
    {
        using var plot = New(title);
        var drawn = plot.Add.Bars(bars.Select(bar => bar.Value).ToArray());
        drawn.ValueLabelStyle.FontSize = 12;
        foreach (var bar in drawn.Bars)
        {
            bar.FillColor = Blue;
            bar.LineWidth = 0;
            bar.Label = bar.Value.ToString(bar.Value is >= 100 or 0 ? "0" : "0.##", System.Globalization.CultureInfo.InvariantCulture);
        }

        plot.Axes.Bottom.SetTicks([.. Enumerable.Range(0, bars.Length).Select(i => (double)i)], [.. bars.Select(bar => bar.Label)]);
        plot.Axes.Bottom.MajorTickStyle.Length = 0;
        plot.HideGrid();
        plot.YLabel(unit);
        plot.Axes.Margins(bottom: 0, top: 0.15);
        Save(plot, name, title);
    }

    /// <summary>One or more curves over the same values.</summary>
    /// <param name="name">Name of the file.</param>
    /// <param name="title">What is seen.</param>
    /// <param name="across">What the horizontal axis has.</param>
    /// <param name="up">What the vertical axis has.</param>
    /// <param name="x">Values of the horizontal axis.</param>
    /// <param name="curves">Name and values of each curve.</param>
    public static void Lines(string name, string title, string across, string up, double[] x,
        params (string Label, double[] Values)[] curves)
    {
        using var plot = New(title);
        foreach (var (label, values) in curves)
        {
            var line = plot.Add.Scatter(x, values);
            line.LegendText = label;
            line.MarkerSize = x.Length > 50 ? 0 : 6;
            line.LineWidth = 2;
        }

        plot.XLabel(across);
        plot.YLabel(up);
        if (curves.Length > 1)
            plot.ShowLegend(Alignment.UpperLeft);
        Save(plot, name, title);
    }

    private static Plot New(string title)
    {
        var plot = new Plot();
        plot.Font.Set("DejaVu Sans");
        plot.Title(title);
        plot.Axes.Title.Label.Bold = false;
        return plot;
    }

    private static void Save(Plot plot, string name, string title)
    {
        var folder = Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } named
            ? named
            : Path.Combine(Path.GetTempPath(), "kvcache-notebook");
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"{name}.svg");
        plot.SaveSvg(path, Width, Height);
        Console.WriteLine($"Picture: {title} ({name}.svg)");
        Console.Error.WriteLine($"{path}");
    }
}
