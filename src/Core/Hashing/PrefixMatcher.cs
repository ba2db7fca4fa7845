namespace KvCache;

/// <summary>Compares prompts by their common prefix, which is all that a prefix cache can reuse of one for the other.</summary>
/// <remarks>Nothing is allocated; the comparison runs at vector width over the common prefix and stops where it ends.</remarks>
public static class PrefixMatcher
{
    /// <summary>Length in tokens of the longest common prefix.</summary>
    /// <param name="first">Tokens of one prompt.</param>
    /// <param name="second">Tokens of the other.</param>
    public static int CommonTokens(ReadOnlySpan<int> first, ReadOnlySpan<int> second) => first.CommonPrefixLength(second);

    /// <summary>Whole blocks of the longest common prefix.</summary>
    /// <param name="first">Tokens of one prompt.</param>
    /// <param name="second">Tokens of the other.</param>
    /// <param name="tokensPerBlock">Tokens of a block, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tokensPerBlock"/> is less than 1.</exception>
    public static int CommonBlocks(ReadOnlySpan<int> first, ReadOnlySpan<int> second, int tokensPerBlock) =>
        Compare(first, second).CommonBlocks(tokensPerBlock);

    /// <summary>Compares two prompts in tokens.</summary>
    /// <param name="first">Tokens of one prompt.</param>
    /// <param name="second">Tokens of the other.</param>
    public static PrefixComparison Compare(ReadOnlySpan<int> first, ReadOnlySpan<int> second) =>
        new(first.CommonPrefixLength(second), first.Length, second.Length);

    /// <summary>Compares two prompts in UTF-16 code units.</summary>
    /// <param name="first">Text of one prompt.</param>
    /// <param name="second">Text of the other.</param>
    /// <remarks>
    /// The common prefix never ends within a surrogate pair: characters that differ in their second half differ as a whole.
    /// It tells where texts part, not how many tokens they share: a tokenizer may merge characters across that point.
    /// </remarks>
    public static PrefixComparison Compare(ReadOnlySpan<char> first, ReadOnlySpan<char> second)
    {
        var common = first.CommonPrefixLength(second);
        if (SplitsPair(first, common) || SplitsPair(second, common))
            common--;
        return new(common, first.Length, second.Length);
    }

    /// <summary>Finds the candidate that shares the longest prefix with a prompt.</summary>
    /// <param name="query">Tokens of the prompt.</param>
    /// <param name="candidates">Tokens of the prompts to choose from; a <c>List</c> is passed as
    /// <c>CollectionsMarshal.AsSpan(list)</c>.</param>
    /// <returns>The best candidate, or null when none shares the first token. Of equal prefixes the shortest candidate wins, then the
    /// first.</returns>
    public static PrefixMatch? FindBest(ReadOnlySpan<int> query, ReadOnlySpan<ReadOnlyMemory<int>> candidates)
    {
        PrefixMatch? best = null;
        for (var i = 0; i < candidates.Length; i++)
            best = Better(best, new PrefixMatch(i, Compare(query, candidates[i].Span)));
        return best;
    }

    /// <summary>Finds the text that shares the longest prefix with a prompt, in UTF-16 code units.</summary>
    /// <param name="query">Text of the prompt.</param>
    /// <param name="candidates">Texts to choose from.</param>
    /// <returns>The best candidate, or null when none shares the first character. Of equal prefixes the shortest candidate wins, then the
    /// first.</returns>
    public static PrefixMatch? FindBest(ReadOnlySpan<char> query, ReadOnlySpan<string> candidates)
    {
        PrefixMatch? best = null;
        for (var i = 0; i < candidates.Length; i++)
            best = Better(best, new PrefixMatch(i, Compare(query, candidates[i].AsSpan())));
        return best;
    }

    private static PrefixMatch? Better(PrefixMatch? best, PrefixMatch next)
    {
        if (next.Comparison.Common == 0)
            return best;
        if (best is not { } old || next.Comparison.Common > old.Comparison.Common)
            return next;
        return next.Comparison.Common == old.Comparison.Common && next.Comparison.SecondLength < old.Comparison.SecondLength ? next : best;
    }

    private static bool SplitsPair(ReadOnlySpan<char> text, int position) =>
        position > 0 && position < text.Length && char.IsSurrogatePair(text[position - 1], text[position]);
}
