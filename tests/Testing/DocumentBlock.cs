namespace KvCache.Testing;

/// <summary>A fenced block of a page. docs/testing.md has the marks.</summary>
/// <param name="Page">Path of the page in the repository.</param>
/// <param name="Line">Line of its first fence, from 1 on.</param>
/// <param name="Language">First word behind the fence: <c>sh</c>, <c>csharp</c>, <c>python</c>, …</param>
/// <param name="Mark">Second word: <c>run</c>, <c>run=long</c>, <c>output</c>, or empty.</param>
/// <param name="WhyNot">What the comment above says of why it is not run; empty for none.</param>
/// <param name="Text">What is in it.</param>
internal sealed record DocumentBlock(string Page, int Line, string Language, string Mark, string WhyNot, string Text)
{
    private const string Fence = "```", Comment = "<!-- not run: ", MadePage = "<!-- Made by render.py";

    /// <summary>Pages whose blocks are marked: the README, and all of docs but those that are made of programs.</summary>
    public static IEnumerable<string> Pages =>
        Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories)
            .Where(path => !File.ReadLines(path).First().StartsWith(MadePage, StringComparison.Ordinal))
            .Select(path => Path.GetRelativePath(Repository.Root, path)).Append("README.md").Append("CONTRIBUTING.md")
            .Order(StringComparer.Ordinal);

    /// <summary>Whether something is done with it: it is run, it is what another one prints, or it says why not.</summary>
    public bool IsMarked => (Mark is "run" or "run=long" or "output") != WhyNot.Length > 0;

    public override string ToString() => $"{Page}:{Line}";

    /// <summary>The blocks of a page, in order.</summary>
    public static IReadOnlyList<DocumentBlock> Of(string page)
    {
        var blocks = new List<DocumentBlock>();
        var lines = File.ReadAllLines(Path.Combine(Repository.Root, page));
        for (var i = 0; i < lines.Length; i++)
        {
            if (!lines[i].StartsWith(Fence, StringComparison.Ordinal))
                continue;
            var end = Array.IndexOf(lines, Fence, i + 1);
            if (end < 0)
                throw new FormatException($"The block at {page}:{i + 1} does not end.");
            var words = lines[i][Fence.Length..].Split(' ', 2);
            var above = i == 0 ? "" : lines[i - 1];
            var whyNot = above.StartsWith(Comment, StringComparison.Ordinal) ? above[Comment.Length..^" -->".Length] : "";
            var text = string.Join('\n', lines[(i + 1)..end]);
            blocks.Add(new DocumentBlock(page, i + 1, words[0], words.ElementAtOrDefault(1) ?? "", whyNot, text));
            i = end;
        }

        return blocks;
    }
}
