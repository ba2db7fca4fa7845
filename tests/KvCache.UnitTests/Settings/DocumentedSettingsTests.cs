using System.Text.RegularExpressions;
using KvCache.Silo.Settings;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>docs/configuration.md has every setting that a silo reads, and no other one.</summary>
public sealed partial class DocumentedSettingsTests
{
    private static readonly Lazy<HashSet<string>> Documented = new(() =>
        [.. File.ReadLines(Path.Combine(Repository.Root, "docs/configuration.md")).SelectMany(SettingsOf)]);

    [Fact]
    public void Every_setting_that_is_read_is_told()
    {
        Assert.True(Documented.Value.Count > 100, $"{Documented.Value.Count} settings were found in the page.");
        Assert.Empty(SettingsSchema.Names.Except(Documented.Value));
    }

    [Fact]
    public void Every_setting_that_is_told_is_read() => Assert.Empty(Documented.Value.Except(SettingsSchema.Names));

    [Fact]
    public void Settings_that_other_pages_name_are_read()
    {
        var wrong = Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories)
            .SelectMany(page => Named().Matches(File.ReadAllText(page)))
            .Select(match => match.Value.Replace("__", ":", StringComparison.Ordinal))
            .Where(key => SettingsSchema.Find(key) is null);

        Assert.Empty(wrong.Distinct());
    }

    // A cell has a whole key, and behind it names of others in the same section.
    private static IEnumerable<string> SettingsOf(string line)
    {
        if (!line.StartsWith("| `KvCache:", StringComparison.Ordinal))
            yield break;
        var section = "";
        foreach (var name in Quoted().Matches(line.Split(" | ")[0]).Select(match => match.Groups[1].Value))
        {
            if (name.StartsWith('-'))
                continue; // the option of the command line
            var key = name.StartsWith("KvCache:", StringComparison.Ordinal) ? name : section + name;
            section = key[..(key.LastIndexOf(':') + 1)];
            yield return Chosen().Replace(key, ":NAME");
        }
    }

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Quoted();

    [GeneratedRegex(":N(?=:|$)")]
    private static partial Regex Chosen();

    [GeneratedRegex(@"KvCache(?:__|:)[A-Z]\w*?(?:(?:__|:)[A-Za-z]\w*?)*(?=[^\w:]|$)")]
    private static partial Regex Named();
}
