using System.Globalization;

namespace KvCache.Testing;

/// <summary>Bounds of time that are promised of a machine that has time for what it runs.</summary>
internal static class Promised
{
    // So many programs wait for each processor.
    private static double Load =>
        File.Exists("/proc/loadavg")
        ? double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture) / Environment.ProcessorCount
        : 1;

    /// <summary>Fails when something took longer than was promised. On a machine where programs wait for processors the bound grows with
    /// them.</summary>
    public static void Within(TimeSpan bound, TimeSpan took, string what)
    {
        var scale = Math.Max(1, Load);
        Report.Line(string.Create(
            CultureInfo.InvariantCulture, $"{what}: {took.TotalSeconds:0.0} s, of {bound.TotalSeconds:0} s × {scale:0.0}."));
        Assert.InRange(took, TimeSpan.Zero, bound * scale);
    }
}
