using System.Globalization;

namespace KvCache.Settings;

/// <summary>Times as they are written in settings: <c>00:00:02</c> with days and fractions, or a number with a unit.</summary>
/// <remarks>.NET takes a bare number for days, which nobody means.</remarks>
internal static class Duration
{
    /// <summary>What is expected, for messages.</summary>
    public const string Expected = "a time was expected, such as 00:00:02, 2s or 500ms (units: ms, s, m, h, d)";

    private static readonly (string Unit, double Ticks)[] Units =
    [
        ("ms", TimeSpan.TicksPerMillisecond), ("s", TimeSpan.TicksPerSecond), ("m", TimeSpan.TicksPerMinute), ("h", TimeSpan.TicksPerHour),
        ("d", TimeSpan.TicksPerDay),
    ];

    /// <summary>Reads a time; false for what is none, a number without a unit among it.</summary>
    public static bool TryParse(string text, out TimeSpan time)
    {
        text = text.Trim();

        // hh:mm alone is an hour to some and a minute to others.
        if (text.Count(':') == 2 && TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out time))
            return true;
        time = default;
        foreach (var (unit, ticks) in Units)
        {
            if (!text.EndsWith(unit, StringComparison.Ordinal)
                || !double.TryParse(
                    text.AsSpan(0, text.Length - unit.Length).TrimEnd(), NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign,
                    CultureInfo.InvariantCulture, out var count)
                || Math.Abs(count * ticks) >= long.MaxValue)
                continue;
            time = TimeSpan.FromTicks((long)Math.Round(count * ticks));
            return true;
        }

        return false;
    }
}
