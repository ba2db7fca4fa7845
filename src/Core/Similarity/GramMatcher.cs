using System.Runtime.InteropServices;

namespace KvCache;

/// <summary>Tells which of many prompts is most similar to another one (<see cref="TokenGrams"/>), and where the two part.</summary>
/// <remarks>Keeps for every run of tokens which prompts have it: only prompts that share one with the query are looked at. The tokens of
/// all prompts are kept. Not thread-safe.</remarks>
/// <param name="length">Tokens of a run, 1 to <see cref="TokenGrams.MaxLength"/>.</param>
/// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is out of its bounds.</exception>
public sealed class GramMatcher(int length = TokenGrams.DefaultLength)
{
    private readonly int _length = length is >= 1 and <= TokenGrams.MaxLength
        ? length
        : throw new ArgumentOutOfRangeException(nameof(length), length, $"1 to {TokenGrams.MaxLength} tokens of a run were expected.");

    private readonly Dictionary<int, int[]> _prompts = [];
    private readonly Dictionary<TokenGrams.Gram, Dictionary<int, int>> _having = []; // who has a run, and how often
    private int _next;

    /// <summary>Prompts that were added and not removed.</summary>
    public int Count => _prompts.Count;

    /// <summary>Adds a prompt.</summary>
    /// <param name="tokens">Its tokens, which are copied.</param>
    /// <returns>Its index: 0 for the first prompt ever added, then 1, and so on.</returns>
    public int Add(ReadOnlySpan<int> tokens)
    {
        _prompts.Add(_next, tokens.ToArray());
        foreach (var (gram, count) in TokenGrams.Count(tokens, _length))
            (CollectionsMarshal.GetValueRefOrAddDefault(_having, gram, out _) ??= []).Add(_next, count);
        return _next++;
    }

    /// <summary>Removes a prompt.</summary>
    /// <returns>Whether it was there.</returns>
    public bool Remove(int index)
    {
        if (!_prompts.Remove(index, out var tokens))
            return false;
        foreach (var gram in TokenGrams.Count(tokens, _length).Keys)
        {
            if (_having[gram].Remove(index) && _having[gram].Count == 0)
                _having.Remove(gram);
        }

        return true;
    }

    /// <summary>Finds the prompt that is most similar to a query.</summary>
    /// <param name="query">Tokens of the query.</param>
    /// <returns>The best prompt, or null when none has a run of the query. Of equally similar ones the one with the longest common prefix
    /// wins, then the one that was added first.</returns>
    public GramMatch? FindBest(ReadOnlySpan<int> query)
    {
        var common = new Dictionary<int, int>();
        foreach (var (gram, count) in TokenGrams.Count(query, _length))
        {
            foreach (var (index, times) in _having.GetValueOrDefault(gram) ?? [])
                CollectionsMarshal.GetValueRefOrAddDefault(common, index, out _) += Math.Min(count, times);
        }

        GramMatch? best = null;
        var runs = TokenGrams.NumberOf(query.Length, _length);
        foreach (var (index, shared) in common)
        {
            var tokens = _prompts[index];
            var similarity = TokenGrams.Similarity(shared, runs, TokenGrams.NumberOf(tokens.Length, _length));
            if (similarity < best?.Similarity)
                continue;
            var match = new GramMatch(index, similarity, PrefixComparison.Of(query, tokens));
            if (best is not { } old || Rank(match).CompareTo(Rank(old)) > 0)
                best = match;
        }

        return best;

        static (double Similarity, int Common, int First) Rank(GramMatch match) =>
            (match.Similarity, match.Comparison.Common, -match.Index);
    }
}

/// <summary>The prompt that is most similar to a query.</summary>
/// <param name="Index">Its index.</param>
/// <param name="Similarity">How similar, more than 0, at most 1.</param>
/// <param name="Comparison">The query (first) compared with the prompt (second): where they part.</param>
public readonly record struct GramMatch(int Index, double Similarity, PrefixComparison Comparison);
