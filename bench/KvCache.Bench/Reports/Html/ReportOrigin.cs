using System.Globalization;
using System.Runtime.InteropServices;

namespace KvCache.Bench.Reports.Html;

/// <summary>Where the figures of a page come from.</summary>
/// <param name="Time">When they were taken.</param>
/// <param name="Command">Arguments of the command line, to take them again.</param>
/// <param name="Machine">The machine, and how busy it was.</param>
/// <param name="Descriptions">What each scenario asks, by name.</param>
internal sealed record ReportOrigin(DateTimeOffset Time, string Command, string Machine, IReadOnlyDictionary<string, string> Descriptions)
{
    /// <summary>A sentence about this machine: processor, system, runtime, load.</summary>
    public static string DescribeMachine()
    {
        var parts = new List<string> { RuntimeInformation.OSDescription, RuntimeInformation.FrameworkDescription };
        if (Line("/proc/cpuinfo", "model name")?.Split(':', 2)[^1].Trim() is { Length: > 0 } processor)
            parts.Insert(0, processor);
        if (File.Exists("/proc/loadavg"))
            parts.Add(string.Create(
                CultureInfo.InvariantCulture, $"load average at the end {File.ReadAllText("/proc/loadavg").Split(' ')[0]}"));
        return string.Join(", ", parts) + ".";
    }

    /// <summary>Arguments as they can be typed again.</summary>
    public static string Join(IEnumerable<string> arguments) =>
        string.Join(' ',
            arguments.Select(
            argument => argument.Any(
            character => char.IsWhiteSpace(character) || "'\"$`\\*?;&|<>()".Contains(character, StringComparison.Ordinal))
            ? $"'{argument.Replace("'", "'\\''", StringComparison.Ordinal)}'" : argument));

    private static string? Line(string path, string start) =>
        File.Exists(path) ? File.ReadLines(path).FirstOrDefault(line => line.StartsWith(start, StringComparison.Ordinal)) : null;
}
