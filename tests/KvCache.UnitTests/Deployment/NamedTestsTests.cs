using System.Text.RegularExpressions;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>A page that says which test shows what names tests that exist.</summary>
public sealed partial class NamedTestsTests
{
    private static readonly Lazy<string[]> Sources = new(() =>
    [
        .. Read("tests", "*Tests.cs"), .. Read("tests", "*Contract*.cs"), .. Read("python/tests", "test_*.py"),
    ]);

    [Theory]
    [InlineData("docs/reliability.md")]
    [InlineData("docs/guides/troubleshooting.md")]
    [InlineData("tests/KvCache.Chaos/README.md")]
    public void Every_test_that_is_named_exists(string page)
    {
        var missing = new List<string>();
        var count = 0;
        foreach (var line in File.ReadLines(Path.Combine(Repository.Root, page)).Where(line => line.StartsWith('|')))
        {
            // A method without a class is one of the class before it.
            var type = "";
            foreach (var match in Named().Matches(line).Cast<Match>())
            {
                type = match.Groups["type"].Success ? match.Groups["type"].Value : type;
                count++;
                if (!Exists(type, match.Groups["method"].Value, match.Groups["python"].Value))
                    missing.Add(match.Value);
            }
        }

        Assert.Empty(missing);
        Assert.True(count > 10, $"{page} names {count} tests.");
    }

    private static bool Exists(string type, string method, string python) =>
        python.Length > 0
        ? Array.Exists(Sources.Value, source => source.Contains($"def {python}(", StringComparison.Ordinal))
        : Array.Exists(Sources.Value, source => Regex.IsMatch(source, $@"\bclass {type}\b")
            && (method.Length == 0 || source.Contains($" {method}(", StringComparison.Ordinal)));

    private static IEnumerable<string> Read(string folder, string pattern) =>
        Directory.EnumerateFiles(Path.Combine(Repository.Root, folder), pattern, SearchOption.AllDirectories)
            .Where(path => !path.Contains("/obj/", StringComparison.Ordinal)).Select(File.ReadAllText);

    [GeneratedRegex(
        @"`((?<type>[A-Z]\w*(?:Tests|Contract))(\.(?<method>\w+))?|(?<method>[A-Z]\w*_\w+)|(\w+\.)?(?<python>test_\w+))(\(\w*\))?`")]
    private static partial Regex Named();
}
