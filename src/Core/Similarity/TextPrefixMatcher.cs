using System.Buffers;
using System.Text;
using KvCache.Similarity;

namespace KvCache;

/// <summary>As <see cref="PrefixMatcher"/>, for texts: lengths are UTF-16 code units, and texts part between characters.</summary>
/// <remarks>Not thread-safe. It tells where texts part, not how many tokens they share: a tokenizer may merge characters across that
/// point.</remarks>
public sealed class TextPrefixMatcher
{
    private readonly PromptTree _tree = new();

    /// <summary>Texts that were added and not removed.</summary>
    public int Count => _tree.Count;

    /// <summary>Adds a text.</summary>
    /// <returns>Its index: 0 for the first text ever added, then 1, and so on.</returns>
    public int Add(ReadOnlySpan<char> text)
    {
        var characters = new int[text.Length];
        return _tree.Add(characters[..Decode(text, characters)], text.Length);
    }

    /// <summary>Removes a text.</summary>
    /// <returns>Whether it was there.</returns>
    public bool Remove(int index) => _tree.Remove(index);

    /// <summary>Finds the text that shares the longest prefix with a query.</summary>
    /// <param name="query">The query.</param>
    /// <returns>The best text, or null when none shares the first character. Of equal prefixes the shortest text wins, then the one that
    /// was added first.</returns>
    public PrefixMatch? FindBest(ReadOnlySpan<char> query)
    {
        var characters = ArrayPool<int>.Shared.Rent(query.Length);
        try
        {
            if (_tree.Find(characters.AsSpan(0, Decode(query, characters)), out var common) is not { } best)
                return null;
            var units = 0;
            foreach (var character in characters.AsSpan(0, common))
                units += character > char.MaxValue ? 2 : 1;
            return new PrefixMatch(best.Index, new PrefixComparison(units, query.Length, best.Length));
        }
        finally
        {
            ArrayPool<int>.Shared.Return(characters);
        }
    }

    // Half of a pair is a character of its own: a replacement would stand for any half.
    private static int Decode(ReadOnlySpan<char> text, Span<int> characters)
    {
        var count = 0;
        while (!text.IsEmpty)
        {
            var isWhole = Rune.DecodeFromUtf16(text, out var rune, out var units) == OperationStatus.Done;
            characters[count++] = isWhole ? rune.Value : text[0];
            text = text[(isWhole ? units : 1)..];
        }

        return count;
    }
}
