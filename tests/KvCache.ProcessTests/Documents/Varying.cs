using System.Text.RegularExpressions;

namespace KvCache.ProcessTests.Documents;

/// <summary>
/// Outputs as documents show them. What differs from run to run is marked: a figure by the sign ≈ before it, any other text by … in its
/// place, any lines by a line that is … alone. All else must be the same, but for the number of spaces.
/// </summary>
internal static partial class Varying
{
    /// <summary>Compares what a program printed with what its document shows.</summary>
    public static void AssertShown(string shown, string printed)
    {
        var expected = LinesOf(shown);
        var actual = LinesOf(printed);
        if (FirstDifference(expected, actual) is not { } line)
            return;
        Assert.Fail(
            $"Line {line + 1} is not as the document shows it.\nshown:   {expected.ElementAtOrDefault(line) ?? "(nothing)"}\n"
            + $"printed: {actual.ElementAtOrDefault(line) ?? "(nothing)"}\n\nAll of it:\n{printed}");
    }

    // Null for none; else the line up to which most was as it is shown.
    private static int? FirstDifference(string[] expected, string[] actual)
    {
        var furthest = 0;
        return IsShown(0, 0) ? null : furthest;

        bool IsShown(int i, int j)
        {
            furthest = Math.Max(furthest, i);
            if (i == expected.Length)
                return j == actual.Length;
            if (expected[i] == "…")
                return Enumerable.Range(j, actual.Length - j + 1).Any(next => IsShown(i + 1, next));
            return j < actual.Length && LineIsShown(expected[i], actual[j]) && IsShown(i + 1, j + 1);
        }
    }

    private static bool LineIsShown(string shown, string printed)
    {
        var pattern = Figure().Replace(
            Regex.Escape(shown).Replace("…", ".*", StringComparison.Ordinal), _ => @"(?:≈ ?)?-?[\d.,]+(?:E[-+]?\d+)?");
        return Regex.IsMatch(printed, $"^{pattern}$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(5));
    }

    private static string[] LinesOf(string text) => [.. text.Trim().Split('\n').Select(line => Spaces().Replace(line, " ").Trim())];

    // With the sign or without: a document may mark figures that the program prints plainly. Spaces and points are escaped in patterns.
    [GeneratedRegex(@"(?:≈(?:\\? )?)-?\d[\d.,\\]*(?:E[-+]?\d+)?")]
    private static partial Regex Figure();

    [GeneratedRegex(" +")]
    private static partial Regex Spaces();
}
