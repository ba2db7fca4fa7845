using KvCache.Similarity;

namespace KvCache;

/// <summary>Tells which of many prompts shares the longest prefix with another one, and where the two part.</summary>
/// <remarks>
/// A radix tree: finding takes time in proportion to the query, however many prompts there are, and allocates nothing. Prompts of the same
/// beginning share its place in the tree; the tokens of each are kept. Not thread-safe.
/// </remarks>
public sealed class PrefixMatcher
{
    private readonly PromptTree _tree = new();

    /// <summary>Prompts that were added and not removed.</summary>
    public int Count => _tree.Count;

    /// <summary>Adds a prompt.</summary>
    /// <param name="tokens">Its tokens, which are copied.</param>
    /// <returns>Its index: 0 for the first prompt ever added, then 1, and so on.</returns>
    public int Add(ReadOnlySpan<int> tokens) => _tree.Add(tokens.ToArray(), tokens.Length);

    /// <summary>Removes a prompt.</summary>
    /// <returns>Whether it was there.</returns>
    public bool Remove(int index) => _tree.Remove(index);

    /// <summary>Finds the prompt that shares the longest prefix with a query.</summary>
    /// <param name="query">Tokens of the query.</param>
    /// <returns>The best prompt, or null when none shares the first token. Of equal prefixes the shortest prompt wins, then the one that
    /// was added first.</returns>
    public PrefixMatch? FindBest(ReadOnlySpan<int> query) => _tree.Find(query, out var common) is { } best
        ? new PrefixMatch(best.Index, new PrefixComparison(common, query.Length, best.Length))
        : null;
}

/// <summary>The prompt that shares the longest prefix with a query.</summary>
/// <param name="Index">Its index.</param>
/// <param name="Comparison">The query (first) compared with the prompt (second).</param>
public readonly record struct PrefixMatch(int Index, PrefixComparison Comparison);
