using System.Text.RegularExpressions;

namespace KvCache.ProcessTests.Documents;

/// <summary>
/// Outputs as documents show them. What differs from run to run is marked: a figure by the sign ≈ before it, any other text by … in its
/// place. All else must be the same, but for the number of spaces.
/// </summary>
internal static partial class Varying
{
    /// <summary>Compares what a program printed with what its document shows.</summary>
    public static void AssertShown(string shown, string printed)
    {
        var expected = LinesOf(shown);
        var actual = LinesOf(printed);
        for (var i = 0; i < Math.Min(expected.Length, actual.Length); i++)
        {
            if (!IsShown(expected[i], actual[i]))
                Assert.Fail($"Line {i + 1} is not as the document shows it.\nshown:   {expected[i]}\nprinted: {actual[i]}\n\nAll of it:\n{printed}");
        }

        if (expected.Length != actual.Length)
            Assert.Fail($"The document shows {expected.Length} lines, the program printed {actual.Length}:\n{printed}");
    }

    private static bool IsShown(string shown, string printed) => Regex.IsMatch(
        printed, $"^{Regex.Escape(shown).Replace("…", ".*", StringComparison.Ordinal)}$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(5));

    private static string[] LinesOf(string text) =>
        [.. text.Trim().Split('\n').Select(line => Spaces().Replace(Figure().Replace(line, "≈ #"), " ").Trim())];

    [GeneratedRegex(@"≈ ?-?[\d.,]+(?:E[-+]?\d+)?")]
    private static partial Regex Figure();

    [GeneratedRegex(" +")]
    private static partial Regex Spaces();
}
