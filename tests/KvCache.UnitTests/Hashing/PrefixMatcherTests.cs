using CsCheck;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PrefixMatcherTests
{
    // Two symbols and short lengths, so that long common prefixes are frequent.
    private static readonly Gen<int[]> Tokens = Gen.Int[0, 1].Array[0, 12];

    [Fact]
    public void The_common_prefix_is_the_one_a_loop_finds() =>
        Gen.Select(Gen.Int.Array[0, 80], Tokens, Tokens, Gen.Int[1, 20]).Sample((shared, a, b, tokensPerBlock) =>
        {
            int[] first = [.. shared, .. a], second = [.. shared, .. b];
            var naive = 0;
            while (naive < first.Length && naive < second.Length && first[naive] == second[naive])
                naive++;

            var comparison = PrefixMatcher.Compare(first, second);
            Assert.Equal(naive, comparison.Common);
            Assert.Equal(naive, PrefixMatcher.CommonTokens(first, second));
            Assert.Equal(naive / tokensPerBlock, PrefixMatcher.CommonBlocks(first, second, tokensPerBlock));
            var parts = naive < Math.Min(first.Length, second.Length);
            Assert.Equal(parts ? naive : null, comparison.DivergesAt);
            Assert.Equal(parts, comparison.Relation == PrefixRelation.Diverge);
            Assert.Equal(comparison.Similarity, PrefixMatcher.Compare(second, first).Similarity);
            Assert.InRange(comparison.Similarity, 0, 1);
            Assert.Equal(first.SequenceEqual(second), comparison.Similarity == 1);
        });

    [Theory]
    [InlineData(new[] { 1, 2, 3 }, new[] { 1, 2, 3 }, PrefixRelation.Equal, 3, null, 1.0)]
    [InlineData(new[] { 1, 2 }, new[] { 1, 2, 3, 4 }, PrefixRelation.FirstIsPrefix, 2, null, 0.5)]
    [InlineData(new[] { 1, 2, 3, 4 }, new[] { 1 }, PrefixRelation.SecondIsPrefix, 1, null, 0.25)]
    [InlineData(new[] { 1, 2, 3, 4 }, new[] { 1, 9 }, PrefixRelation.Diverge, 1, 1, 0.25)]
    [InlineData(new[] { 1 }, new[] { 2 }, PrefixRelation.Diverge, 0, 0, 0.0)]
    [InlineData(new int[0], new[] { 1 }, PrefixRelation.FirstIsPrefix, 0, null, 0.0)]
    [InlineData(new int[0], new int[0], PrefixRelation.Equal, 0, null, 1.0)]
    public void A_comparison_says_who_is_whose_prefix(
        int[] first, int[] second, PrefixRelation relation, int common, int? divergesAt, double similarity)
    {
        var comparison = PrefixMatcher.Compare(first, second);
        Assert.Equal(new PrefixComparison(common, first.Length, second.Length), comparison);
        Assert.Equal((relation, divergesAt, similarity), (comparison.Relation, comparison.DivergesAt, comparison.Similarity));
    }

    [Fact]
    public void A_block_counts_only_when_it_is_whole()
    {
        var prompt = Enumerable.Range(0, 600).ToArray();
        int[] other = [.. prompt[..511], -1];
        Assert.Equal(1, PrefixMatcher.CommonBlocks(prompt, other, 256));
        Assert.Equal(2, PrefixMatcher.CommonBlocks(prompt, prompt, 256));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixMatcher.CommonBlocks(prompt, other, 0));
    }

    [Fact]
    public void The_best_candidate_has_the_longest_common_prefix() =>
        Gen.Select(Tokens, Tokens.Array[0, 6]).Sample((query, prompts) =>
        {
            var candidates = prompts.Select(p => (ReadOnlyMemory<int>)p).ToArray();
            var naive = prompts
                .Select((p, i) => (Index: i, Common: PrefixMatcher.CommonTokens(query, p), p.Length))
                .Where(c => c.Common > 0)
                .OrderByDescending(c => c.Common).ThenBy(c => c.Length).ThenBy(c => c.Index)
                .Select(c => (int?)c.Index).FirstOrDefault();
            var best = PrefixMatcher.FindBest(query, candidates);
            Assert.Equal(naive, best?.Index);
            if (best is { } match)
                Assert.Equal(PrefixMatcher.Compare(query, prompts[match.Index]), match.Comparison);
        });

    [Fact]
    public void Texts_part_between_characters_never_within_one()
    {
        // U+1F600 and U+1F601 share their first UTF-16 half.
        var comparison = PrefixMatcher.Compare("ab\U0001F600", "ab\U0001F601");
        Assert.Equal(2, comparison.Common);
        Assert.Equal(2, comparison.DivergesAt);
        Assert.Equal(4, PrefixMatcher.Compare("ab\U0001F600c", "ab\U0001F600d").Common);
        Assert.Equal(PrefixRelation.FirstIsPrefix, PrefixMatcher.Compare("system", "system prompt").Relation);
    }

    [Fact]
    public void The_best_text_is_found_as_the_best_tokens_are()
    {
        Assert.Equal(1, PrefixMatcher.FindBest("You are helpful. Sum", ["You", "You are helpful. Translate", "You are curt."])?.Index);
        Assert.Null(PrefixMatcher.FindBest("You", ["me", ""]));
    }

    [Fact]
    public void Matching_allocates_nothing()
    {
        int[] query = [1, 2, 3];
        ReadOnlyMemory<int>[] candidates = [new[] { 1, 2 }, new[] { 1, 2, 3, 4 }];
        Assert.Equal(1, PrefixMatcher.FindBest(query, candidates)?.Index);
        Assert.Equal(0, Allocations.Of(() => PrefixMatcher.FindBest(query, candidates)));
    }
}
