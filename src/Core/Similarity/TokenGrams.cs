using System.Runtime.InteropServices;

namespace KvCache;

/// <summary>
/// Similarity of prompts that do not begin alike: the share of the runs of tokens (n-grams) that they have in common, wherever these stand.
/// </summary>
/// <remarks>
/// Dice's coefficient over the two bags of n-grams, <c>2 |A ∩ B| / (|A| + |B|)</c> (Dice, 1945; for n-grams Adamson and Boreham, 1974):
/// 0 = nothing in common, 1 = the same bags. A prompt of fewer tokens than a run has is one run of its own. A prefix cache can reuse what
/// prompts share only up to where they part: a high similarity with a short common prefix is a prompt that should be put together in
/// another order.
/// </remarks>
public static class TokenGrams
{
    /// <summary>Longest run.</summary>
    public const int MaxLength = 4;

    /// <summary>Length of runs unless told otherwise.</summary>
    public const int DefaultLength = 3;

    /// <summary>Similarity of two prompts, 0 to 1.</summary>
    /// <param name="first">Tokens of one prompt.</param>
    /// <param name="second">Tokens of the other.</param>
    /// <param name="length">Tokens of a run, 1 to <see cref="MaxLength"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is out of its bounds.</exception>
    public static double Similarity(ReadOnlySpan<int> first, ReadOnlySpan<int> second, int length = DefaultLength)
    {
        var counts = Count(first, length);
        var common = 0;
        foreach (var (gram, count) in Count(second, length))
            common += Math.Min(count, counts.GetValueOrDefault(gram));
        return Similarity(common, NumberOf(first.Length, length), NumberOf(second.Length, length));
    }

    internal static double Similarity(int common, int first, int second) => first + second == 0 ? 1 : 2.0 * common / (first + second);

    /// <summary>Number of runs of a prompt.</summary>
    internal static int NumberOf(int tokens, int length) => tokens == 0 ? 0 : Math.Max(1, tokens - length + 1);

    /// <summary>The runs of a prompt, and how often it has each.</summary>
    internal static Dictionary<Gram, int> Count(ReadOnlySpan<int> tokens, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, MaxLength);
        var counts = new Dictionary<Gram, int>();
        for (var i = 0; i < NumberOf(tokens.Length, length); i++)
        {
            var gram = Gram.Of(tokens.Slice(i, Math.Min(length, tokens.Length)));
            CollectionsMarshal.GetValueRefOrAddDefault(counts, gram, out _)++;
        }

        return counts;
    }

    /// <summary>A run, exactly: no two runs have the same.</summary>
    internal readonly record struct Gram(UInt128 Tokens, int Length)
    {
        public static Gram Of(ReadOnlySpan<int> tokens)
        {
            UInt128 packed = 0;
            foreach (var token in tokens)
                packed = (packed << 32) | (uint)token;
            return new Gram(packed, tokens.Length);
        }
    }
}
