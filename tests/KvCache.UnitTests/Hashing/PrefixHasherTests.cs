using System.Text;
using CsCheck;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PrefixHasherTests
{
    private static readonly Gen<int[]> Tokens = Gen.Int[-1, 1].Array[0, 12];

    [Fact]
    public void Two_blocks_have_one_name_exactly_when_their_prefixes_are_equal() =>
        Gen.Select(Tokens, Tokens, Tokens, Gen.Int[1, 5]).Sample((shared, a, b, tokensPerBlock) =>
        {
            int[] first = [.. shared, .. a], second = [.. shared, .. b];
            PrefixChain one = PrefixHasher.HashTokens(first, tokensPerBlock), other = PrefixHasher.HashTokens(second, tokensPerBlock);
            for (var i = 0; i < one.BlockCount; i++)
            {
                for (var j = 0; j < other.BlockCount; j++)
                {
                    var equal = first.AsSpan(0, (i + 1) * tokensPerBlock).SequenceEqual(second.AsSpan(0, (j + 1) * tokensPerBlock));
                    Assert.Equal(equal, one.Hashes[i] == other.Hashes[j]);
                }
            }
        });

    [Fact]
    public void Every_way_to_hash_a_prompt_gives_the_same_names() =>
        Gen.Select(Gen.Int.Array[0, 700], Gen.Int[1, 300]).Sample((tokens, tokensPerBlock) =>
        {
            var chain = PrefixHasher.HashTokens(tokens, tokensPerBlock);
            Assert.Equal(
                (tokens.Length / tokensPerBlock, tokensPerBlock, tokens.Length),
                (chain.BlockCount, chain.TokensPerBlock, chain.TokenCount));
            var fewer = new BlockHash[chain.BlockCount / 2];
            PrefixHasher.HashTokens(tokens, tokensPerBlock, fewer);
            Assert.True(chain.Hashes.StartsWith(fewer));
            var parent = PrefixHasher.TokenRoot;
            foreach (var hash in chain.Hashes)
            {
                parent = PrefixHasher.HashBlock(parent, tokens.AsSpan(0, tokensPerBlock));
                tokens = tokens[tokensPerBlock..];
                Assert.Equal(parent, hash);
            }
        });

    [Fact]
    public void A_prompt_shorter_than_a_block_has_no_blocks_however_large_blocks_are() =>
        Gen.Int[4, int.MaxValue].Sample(tokensPerBlock => Assert.Equal(0, PrefixHasher.HashTokens([1, 2, 3], tokensPerBlock).BlockCount));

    [Fact]
    public void More_hashes_than_there_are_blocks_are_an_error()
    {
        Assert.Throws<ArgumentException>(() => PrefixHasher.HashTokens([1, 2, 3], 2, new BlockHash[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixHasher.HashTokens([1], 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixChain.FromHashes([], 0));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(256)]
    [InlineData(1000)]
    public void Hashing_into_a_span_allocates_nothing(int tokensPerBlock)
    {
        var tokens = new int[4 * tokensPerBlock];
        var hashes = new BlockHash[4];
        Assert.Equal(0, Allocations.Of(() => PrefixHasher.HashTokens(tokens, tokensPerBlock, hashes)));
        Assert.Equal(0, Allocations.Of(() => PrefixHasher.HashBlock(PrefixHasher.TokenRoot, tokens.AsSpan(0, tokensPerBlock))));
    }

    [Fact]
    public void A_chain_that_goes_on_is_the_chain_of_the_whole() =>
        Gen.Select(Tokens, Tokens, Tokens, Gen.Int[1, 5]).Sample((first, second, third, tokensPerBlock) =>
        {
            var began = PrefixHasher.HashTokens(first, tokensPerBlock);
            var chain = began.Append(second).Append(third);
            var whole = PrefixHasher.HashTokens([.. first, .. second, .. third], tokensPerBlock);
            Assert.Equal(whole.Hashes, chain.Hashes);
            Assert.Equal((whole.TokenCount, tokensPerBlock), (chain.TokenCount, chain.TokensPerBlock));
            Assert.Equal(PrefixHasher.HashTokens(first, tokensPerBlock).Hashes, began.Hashes);
        });

    [Fact]
    public void Only_tokens_that_are_known_go_on()
    {
        var prefix = KvPrefix.Of(Names.Namespace, [1, 2, 3]);
        Assert.Equal(KvPrefix.Of(Names.Namespace, [1, 2, 3, 4]).Chain.Hashes, prefix.Append([4]).Chain.Hashes);
        Assert.Same(prefix.Chain, prefix.Append([]).Chain);
        var engines = PrefixChain.FromHashes([PrefixHasher.HashEngineKey([1])], 16);
        Assert.Throws<InvalidOperationException>(() => engines.Append([1]));
    }

    [Fact]
    public void A_text_has_one_name_for_each_part_and_no_other_text_has_it() =>
        Gen.Select(Gen.String[Gen.Char["ab\0é"], 0, 4], Gen.String[Gen.Char["ab\0é"], 0, 4], Gen.Int[0, 1], Gen.Int[0, 1])
            .Sample((a, b, i, j) =>
            Assert.Equal((a, i) == (b, j), PrefixHasher.HashText(a, i) == PrefixHasher.HashText(b, j)));

    [Fact]
    public void A_text_that_is_not_well_formed_has_no_name()
    {
        var error = Assert.Throws<ArgumentException>(() => PrefixHasher.HashText("a\uD83D"));
        Assert.Contains("UTF-16", error.Message, StringComparison.Ordinal);
        Assert.NotEqual(PrefixHasher.HashText("a\uFFFD"), PrefixHasher.HashText("a\U0001F600"));
    }

    [Fact]
    public void Engine_keys_differ_by_group_and_are_bounded()
    {
        var key = Encoding.ASCII.GetBytes(new string('k', PrefixHasher.MaxEngineKeyBytes));
        Assert.NotEqual(PrefixHasher.HashEngineKey(key, 0), PrefixHasher.HashEngineKey(key, 1));
        Assert.NotEqual(PrefixHasher.HashEngineKey(key), PrefixHasher.HashEngineKey(key.AsSpan(1)));
        Assert.Throws<ArgumentException>(() => PrefixHasher.HashEngineKey([]));
        Assert.Throws<ArgumentException>(() => PrefixHasher.HashEngineKey([.. key, 0]));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixHasher.HashEngineKey(key, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => PrefixHasher.HashText("", -1));
    }

    [Fact]
    public void The_ranks_of_a_prompt_share_their_hashes_in_namespaces_of_their_own()
    {
        var prefix = KvPrefix.Of(Names.Namespace with { TensorParallelSize = 2 }, [1, 2, 3, 4]);
        var other = prefix.OnRank(1);
        Assert.Equal(prefix.Chain, other.Chain);
        Assert.NotEqual(prefix.Namespace.Id, other.Namespace.Id);
    }
}
