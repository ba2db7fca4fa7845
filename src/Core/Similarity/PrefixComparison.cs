namespace KvCache;

/// <summary>How two sequences relate as prefixes.</summary>
public enum PrefixRelation
{
    /// <summary>They are the same.</summary>
    Equal,

    /// <summary>The first is a proper prefix of the second.</summary>
    FirstIsPrefix,

    /// <summary>The second is a proper prefix of the first.</summary>
    SecondIsPrefix,

    /// <summary>They part before either ends.</summary>
    Diverge,
}

/// <summary>What two sequences, of tokens or of characters, have in common at their start.</summary>
/// <param name="Common">Length of the longest common prefix, in tokens or characters; at most the shorter length.</param>
/// <param name="FirstLength">Length of the first sequence.</param>
/// <param name="SecondLength">Length of the second sequence.</param>
/// <remarks>The common prefix is all that a prefix cache can reuse of one prompt for the other. Comparing allocates nothing, runs at vector
/// width over the common prefix, and stops where that ends.</remarks>
public readonly record struct PrefixComparison(int Common, int FirstLength, int SecondLength)
{
    /// <summary>Compares two prompts in tokens.</summary>
    /// <param name="first">Tokens of one prompt.</param>
    /// <param name="second">Tokens of the other.</param>
    public static PrefixComparison Of(ReadOnlySpan<int> first, ReadOnlySpan<int> second) =>
        new(first.CommonPrefixLength(second), first.Length, second.Length);

    /// <summary>Compares two prompts in UTF-16 code units.</summary>
    /// <param name="first">Text of one prompt.</param>
    /// <param name="second">Text of the other.</param>
    /// <remarks>
    /// The common prefix never ends within a surrogate pair: characters that differ in their second half differ as a whole.
    /// It tells where texts part, not how many tokens they share: a tokenizer may merge characters across that point.
    /// </remarks>
    public static PrefixComparison Of(ReadOnlySpan<char> first, ReadOnlySpan<char> second)
    {
        var common = first.CommonPrefixLength(second);
        if (SplitsPair(first, common) || SplitsPair(second, common))
            common--;
        return new(common, first.Length, second.Length);
    }

    /// <summary>Whether they are equal, one is a prefix of the other (and which), or they part.</summary>
    public PrefixRelation Relation =>
        Common < FirstLength && Common < SecondLength ? PrefixRelation.Diverge
        : FirstLength == SecondLength ? PrefixRelation.Equal
        : Common == FirstLength ? PrefixRelation.FirstIsPrefix
        : PrefixRelation.SecondIsPrefix;

    /// <summary>Index of the first position at which both have an element and the elements differ; null when one is a prefix of the
    /// other.</summary>
    public int? DivergesAt => Relation == PrefixRelation.Diverge ? Common : null;

    /// <summary>Common prefix over the longer length: 0 = differ from the start, 1 = equal. Two empty sequences are equal.</summary>
    /// <remarks>
    /// Over the longer length, because that is the share of the longer prompt's prefill that the other one saves. Symmetric.
    /// </remarks>
    public double Similarity => Math.Max(FirstLength, SecondLength) is var longer and > 0 ? (double)Common / longer : 1.0;

    /// <summary>Whole blocks inside the common prefix: what one prompt can reuse of the blocks of the other.</summary>
    /// <param name="tokensPerBlock">Tokens of a block, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tokensPerBlock"/> is less than 1.</exception>
    public int CommonBlocks(int tokensPerBlock)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        return Common / tokensPerBlock;
    }

    private static bool SplitsPair(ReadOnlySpan<char> text, int position) =>
        position > 0 && position < text.Length && char.IsSurrogatePair(text[position - 1], text[position]);
}
