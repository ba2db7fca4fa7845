using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class GramMatcherTests
{
    private static readonly Gen<int[]> Tokens = Gen.Int[0, 2].Array[0, 10];

    [Fact]
    public void The_similarity_is_the_one_of_two_bags_of_runs() =>
        Gen.Select(Tokens, Tokens, Gen.Int[1, TokenGrams.MaxLength]).Sample((first, second, length) =>
        {
            var similarity = TokenGrams.Similarity(first, second, length);
            Assert.Equal(Naive(first, second, length), similarity, 12);
            Assert.Equal(similarity, TokenGrams.Similarity(second, first, length));
            Assert.InRange(similarity, 0, 1);
            Assert.Equal(1, TokenGrams.Similarity(first, first, length));
        });

    [Fact]
    public void The_prompt_that_a_scan_finds_is_found_whatever_was_removed() =>
        Gen.Select(Tokens, Tokens.Array[0, 8], Gen.Int[0, 7].Array[0, 6], Gen.Int[1, TokenGrams.MaxLength]).Sample(
            (query, prompts, removed, length) =>
            {
                var matcher = new GramMatcher(length);
                for (var i = 0; i < prompts.Length; i++)
                    Assert.Equal(i, matcher.Add(prompts[i]));
                var left = Enumerable.Range(0, prompts.Length).ToHashSet();
                foreach (var index in removed)
                    Assert.Equal(left.Remove(index), matcher.Remove(index));
                Assert.Equal(left.Count, matcher.Count);
                var naive = left
                    .Select(i => new GramMatch(
                        i, TokenGrams.Similarity(query, prompts[i], length), PrefixComparison.Of(query, prompts[i])))
                    .Where(match => match.Similarity > 0 && query.Length > 0)
                    .OrderByDescending(match => match.Similarity).ThenByDescending(match => match.Comparison.Common)
                    .ThenBy(match => match.Index).Select(match => (GramMatch?)match).FirstOrDefault();
                Assert.Equal(naive, matcher.FindBest(query));
            });

    [Fact]
    public void A_prompt_in_another_order_is_near_and_parts_at_once()
    {
        int[] system = [.. Enumerable.Range(0, 100)], question = [.. Enumerable.Range(1000, 20)];
        var matcher = new GramMatcher();
        matcher.Add([.. question, .. system]);
        matcher.Add([.. system.Reverse()]);
        var best = matcher.FindBest([.. system, .. question])!.Value;
        Assert.Equal((0, 0), (best.Index, best.Comparison.DivergesAt));
        Assert.InRange(best.Similarity, 0.95, 0.99);
        Assert.Null(matcher.FindBest([-1, -2, -3]));
    }

    [Fact]
    public void Runs_have_one_to_four_tokens()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => TokenGrams.Similarity([1], [1], 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => TokenGrams.Similarity([1], [1], 5));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GramMatcher(0));
    }

    // Runs as texts, and each taken away once.
    private static double Naive(int[] first, int[] second, int length)
    {
        List<string> a = Runs(first), b = Runs(second);
        if (a.Count + b.Count == 0)
            return 1;
        var rest = b.ToList();
        return 2.0 * a.Count(rest.Remove) / (a.Count + b.Count);

        List<string> Runs(int[] tokens) => tokens.Length == 0 ? [] : tokens.Length <= length ? [string.Join(' ', tokens)]
            : [.. Enumerable.Range(0, tokens.Length - length + 1).Select(i => string.Join(' ', tokens[i..(i + length)]))];
    }
}
