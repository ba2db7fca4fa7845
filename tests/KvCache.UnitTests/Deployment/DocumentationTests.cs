using System.Text.RegularExpressions;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Pages that lead where they say.</summary>
public sealed partial class DocumentationTests
{
    public static TheoryData<string> Pages =>
    [
        .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories)
            .Concat(Directory.EnumerateFiles(Repository.Root, "*.md"))
            .Concat(Directory.EnumerateFiles(Path.Combine(Repository.Root, "python"), "*.md"))
            .Select(path => Path.GetRelativePath(Repository.Root, path)).Order(StringComparer.Ordinal),
    ];

    public static TheoryData<string> Below =>
        [.. Pages.Select(page => page.Data).Where(page => page.StartsWith("docs/", StringComparison.Ordinal) && page != "docs/README.md")];

    [Theory]
    [MemberData(nameof(Pages))]
    public void Links_lead_to_pages_and_headings_that_exist(string page)
    {
        var folder = Path.GetDirectoryName(Path.Combine(Repository.Root, page))!;
        var text = WithoutCode(File.ReadAllText(Path.Combine(Repository.Root, page)));
        var broken = Link().Matches(text).Select(match => match.Groups[1].Value)
            .Where(target => !target.Contains("://", StringComparison.Ordinal) && !Leads(folder, page, target));

        Assert.Empty(broken);
    }

    [Theory]
    [MemberData(nameof(Below))]
    public void A_page_of_docs_is_found_from_their_first_page(string page)
    {
        var first = File.ReadAllText(Path.Combine(Repository.Root, "docs/README.md"));

        Assert.Contains($"]({page["docs/".Length..]}", first, StringComparison.Ordinal);
    }

    // That those which are to be run do run is tested with silos: RunnableBlocksTests.
    [Fact]
    public void Every_block_is_run_or_says_why_not()
    {
        var blocks = DocumentBlock.Pages.SelectMany(DocumentBlock.Of).ToList();

        Assert.True(blocks.Count > 40, $"{blocks.Count} blocks were found.");
        Assert.Empty(blocks.Where(block => !block.IsMarked).Select(block => $"{block} is neither run nor says why not (docs/testing.md)"));
        Assert.Empty(blocks.Where(block => block.Language.Length == 0).Select(block => $"{block} has no language"));
    }

    [Fact]
    public void Reasons_why_a_block_is_not_run_are_among_those_that_are_told()
    {
        var told = Reason().Matches(File.ReadAllText(Path.Combine(Repository.Root, "docs/testing.md")))
            .Select(match => match.Groups[1].Value).ToList();
        var others = DocumentBlock.Pages.SelectMany(DocumentBlock.Of)
            .Where(block => block.WhyNot.Length > 0 && !told.Exists(reason => block.WhyNot.StartsWith(reason, StringComparison.Ordinal)))
            .Select(block => $"{block}: {block.WhyNot}");

        Assert.NotEmpty(told);
        Assert.Empty(others);
    }

    [Fact]
    public void The_words_of_a_glossary_are_in_order_and_there_once()
    {
        var words = File.ReadLines(Path.Combine(Repository.Root, "docs/guides/glossary.md"))
            .Where(line => line.StartsWith("| ", StringComparison.Ordinal)).Skip(1).Select(line => line.Split('|')[1].Trim()).ToList();

        Assert.True(words.Count > 20);
        Assert.Equal(words.Order(StringComparer.OrdinalIgnoreCase).Distinct(), words);
    }

    private static bool Leads(string folder, string page, string target)
    {
        var parts = target.Split('#');
        var path = parts[0].Length == 0 ? Path.Combine(Repository.Root, page) : Path.GetFullPath(Path.Combine(folder, parts[0]));
        if (!File.Exists(path) && !Directory.Exists(path))
            return false;
        return parts.Length == 1 || Heading().Matches(File.ReadAllText(path)).Any(match => Anchor(match.Groups[1].Value) == parts[1]);
    }

    // As code hosts make them.
    private static string Anchor(string heading) =>
        NotInAnchors().Replace(heading.Trim().ToLowerInvariant(), "").Replace(' ', '-');

    private static string WithoutCode(string text) => Code().Replace(text, "");

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^\| `not run: ([^`]+)` \|", RegexOptions.Multiline)]
    private static partial Regex Reason();

    [GeneratedRegex(@"^#+ (.+)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex(@"[^\p{L}\p{N} _-]")]
    private static partial Regex NotInAnchors();

    [GeneratedRegex(@"^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Code();
}
