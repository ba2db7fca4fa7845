using CsCheck;
using KvCache.Similarity;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PrefixMatcherTests
{
    // Two symbols and short lengths, so that long common prefixes are frequent.
    private static readonly Gen<int[]> Tokens = Gen.Int[0, 1].Array[0, 12];

    // U+1F600 and U+1F601 share their first UTF-16 half.
    private static readonly Gen<string> Texts = Gen.Int[0, 2].Array[0, 6].Select(
        units => string.Concat(units.Select(unit => unit switch { 0 => "a", 1 => "\U0001F600", _ => "\U0001F601" })));

    [Fact]
    public void The_common_prefix_is_the_one_a_loop_finds() =>
        Gen.Select(Gen.Int.Array[0, 80], Tokens, Tokens, Gen.Int[1, 20]).Sample((shared, a, b, tokensPerBlock) =>
        {
            int[] first = [.. shared, .. a], second = [.. shared, .. b];
            var naive = 0;
            while (naive < first.Length && naive < second.Length && first[naive] == second[naive])
                naive++;

            var comparison = PrefixComparison.Of(first, second);
            Assert.Equal(naive, comparison.Common);
            Assert.Equal(naive / tokensPerBlock, comparison.CommonBlocks(tokensPerBlock));
            var parts = naive < Math.Min(first.Length, second.Length);
            Assert.Equal(parts ? naive : null, comparison.DivergesAt);
            Assert.Equal(parts, comparison.Relation == PrefixRelation.Diverge);
            Assert.Equal(comparison.Similarity, PrefixComparison.Of(second, first).Similarity);
            Assert.InRange(comparison.Similarity, 0, 1);
            Assert.Equal(first.SequenceEqual(second), comparison.Similarity == 1);
        });

    [Fact]
    public void The_tokens_of_a_prompt_that_is_removed_are_not_kept()
    {
        var tree = new PromptTree();
        var removed = new List<WeakReference>();
        for (var i = 0; i < 4; i++)
            AddAndRemove(i);
        GC.Collect();
        Assert.All(removed, tokens => Assert.False(tokens.IsAlive));
        Assert.Equal(8, tree.Count);
        for (var i = 0; i < 4; i++)
        {
            Assert.Equal(new PromptTree.Prompt((3 * i) + 1, 1), tree.Find([i, 9], out var common));
            Assert.Equal((new PromptTree.Prompt((3 * i) + 2, 3), 3), (tree.Find([i, 7, 8], out common), common));
        }

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        void AddAndRemove(int first)
        {
            int[] tokens = [first, 7, 7, .. new int[1000]]; // its runs are shared with what comes behind it
            removed.Add(new WeakReference(tokens));
            var index = tree.Add(tokens, tokens.Length);
            tree.Add([first], 1);
            tree.Add([first, 7, 8], 3);
            Assert.True(tree.Remove(index));
        }
    }

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
        var comparison = PrefixComparison.Of(first, second);
        Assert.Equal(new PrefixComparison(common, first.Length, second.Length), comparison);
        Assert.Equal((relation, divergesAt, similarity), (comparison.Relation, comparison.DivergesAt, comparison.Similarity));
    }

    [Fact]
    public void A_block_counts_only_when_it_is_whole()
    {
        var prompt = Enumerable.Range(0, 600).ToArray();
        int[] other = [.. prompt[..511], -1];
        Assert.Equal(1, PrefixComparison.Of(prompt, other).CommonBlocks(256));
        Assert.Equal(2, PrefixComparison.Of(prompt, prompt).CommonBlocks(256));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixComparison.Of(prompt, other).CommonBlocks(0));
    }

    [Fact]
    public void The_prompt_that_a_scan_finds_is_found_whatever_was_removed() =>
        Gen.Select(Tokens, Tokens.Array[0, 12], Gen.Int[0, 11].Array[0, 12]).Sample((query, prompts, removed) =>
        {
            var matcher = new PrefixMatcher();
            for (var i = 0; i < prompts.Length; i++)
                Assert.Equal(i, matcher.Add(prompts[i]));
            var left = Enumerable.Range(0, prompts.Length).ToHashSet();
            foreach (var index in removed)
                Assert.Equal(left.Remove(index), matcher.Remove(index));
            Assert.Equal(left.Count, matcher.Count);
            var naive = left.Select(i => new PrefixMatch(i, PrefixComparison.Of(query, prompts[i])))
                .Where(match => match.Comparison.Common > 0)
                .OrderByDescending(match => match.Comparison.Common).ThenBy(match => match.Comparison.SecondLength)
                .ThenBy(match => match.Index).Select(match => (PrefixMatch?)match).FirstOrDefault();
            Assert.Equal(naive, matcher.FindBest(query));
        });

    [Fact]
    public void Texts_part_between_characters_never_within_one()
    {
        // U+1F600 and U+1F601 share their first UTF-16 half.
        var comparison = PrefixComparison.Of("ab\U0001F600", "ab\U0001F601");
        Assert.Equal(2, comparison.Common);
        Assert.Equal(2, comparison.DivergesAt);
        Assert.Equal(4, PrefixComparison.Of("ab\U0001F600c", "ab\U0001F600d").Common);
        Assert.Equal(PrefixRelation.FirstIsPrefix, PrefixComparison.Of("system", "system prompt").Relation);
    }

    [Fact]
    public void The_text_that_a_scan_finds_is_found() =>
        Gen.Select(Texts, Texts.Array[0, 8]).Sample((query, texts) =>
        {
            var matcher = new TextPrefixMatcher();
            foreach (var text in texts)
                matcher.Add(text);
            var naive = texts.Select((text, i) => new PrefixMatch(i, PrefixComparison.Of(query, text)))
                .Where(match => match.Comparison.Common > 0)
                .OrderByDescending(match => match.Comparison.Common).ThenBy(match => match.Comparison.SecondLength)
                .ThenBy(match => match.Index).Select(match => (PrefixMatch?)match).FirstOrDefault();
            Assert.Equal(naive, matcher.FindBest(query));
        });

    [Fact]
    public void The_nearest_text_and_where_it_parts()
    {
        var matcher = new TextPrefixMatcher();
        foreach (var text in new[] { "You", "You are helpful. Translate", "You are curt." })
            matcher.Add(text);
        var best = matcher.FindBest("You are helpful. Sum")!.Value;
        Assert.Equal((1, 17), (best.Index, best.Comparison.DivergesAt));
        Assert.True(matcher.Remove(1));
        best = matcher.FindBest("You are helpful. Sum")!.Value;
        Assert.Equal((2, 8), (best.Index, best.Comparison.Common));
        Assert.Null(matcher.FindBest("me"));
        Assert.Null(matcher.FindBest(""));
    }

    [Fact]
    public void Matching_allocates_nothing()
    {
        int[] query = [1, 2, 3];
        var matcher = new PrefixMatcher();
        matcher.Add([1, 2]);
        matcher.Add([1, 2, 3, 4]);
        Assert.Equal(1, matcher.FindBest(query)?.Index);
        Assert.Equal(0, Allocations.Of(() => matcher.FindBest(query)));
    }
}
