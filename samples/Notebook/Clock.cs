using System.Diagnostics;
using System.Globalization;

namespace KvCache.Notebook;

/// <summary>
/// Times and other figures that are different each time. They are written with a sign before them (≈): all that has none is the same in
/// every run.
/// </summary>
public static class Clock
{
    /// <summary>The middle one of several times of a piece of work.</summary>
    /// <param name="rounds">How often it is done.</param>
    /// <param name="work">The work.</param>
    public static TimeSpan Median(int rounds, Action work)
    {
        var times = new List<TimeSpan>();
        for (var i = 0; i < rounds; i++)
        {
            var began = Stopwatch.GetTimestamp();
            work();
            times.Add(Stopwatch.GetElapsedTime(began));
        }

        times.Sort();
        return times[times.Count / 2];
    }

    /// <summary>A time in words, for example <c>≈ 12.3 ms</c>.</summary>
    /// <param name="time">The time.</param>
    public static string About(TimeSpan time) => About(time.TotalMilliseconds, "0.0") + " ms";

    /// <summary>A figure in words, for example <c>≈ 0.7</c>.</summary>
    /// <param name="value">The figure.</param>
    /// <param name="format">How it is written.</param>
    public static string About(double value, string format = "0.##") => "≈ " + value.ToString(format, CultureInfo.InvariantCulture);
}
