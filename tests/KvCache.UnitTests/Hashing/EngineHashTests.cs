using System.Buffers;
using System.Security.Cryptography;
using KvCache.Hashing.Engines;
using Xunit;

namespace KvCache.UnitTests;

public sealed class EngineHashTests
{
    [Theory]
    [InlineData(0, "00")]
    [InlineData(23, "17")]
    [InlineData(24, "1818")]
    [InlineData(255, "18ff")]
    [InlineData(256, "190100")]
    [InlineData(65_535, "19ffff")]
    [InlineData(65_536, "1a00010000")]
    [InlineData(4_294_967_295, "1affffffff")]
    [InlineData(4_294_967_296, "1b0000000100000000")]
    [InlineData(-1, "20")]
    [InlineData(-25, "3818")]
    [InlineData(-257, "390100")]
    public void An_integer_has_the_shortest_cbor(long value, string expected)
    {
        var writer = new ArrayBufferWriter<byte>();
        CanonicalCbor.Integer(writer, value);
        Assert.Equal(expected, Convert.ToHexStringLower(writer.WrittenSpan));
    }

    // The bytes are those of Python's cbor2 in canonical mode.
    [Fact]
    public void A_vllm_block_is_hashed_over_its_parent_its_tokens_and_its_extra_keys()
    {
        var root = VllmBlockHasher.Root("0");
        var expected = SHA256.HashData(Convert.FromHexString(
            "8358204e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e85001718181901001a0001000083616182626d6d0341ab"));

        var hash = VllmBlockHasher.HashBlock(
            root, [0, 23, 24, 256, 65_536],
            [EngineExtraKey.Text("a"), EngineExtraKey.Item("mm", 3), EngineExtraKey.Digest(new byte[] { 0xAB })]);

        Assert.Equal(new BlockHash(expected), hash);
    }

    [Fact]
    public void Tokens_behind_the_last_full_block_have_no_engine_hash()
    {
        int[] tokens = [.. Enumerable.Range(0, 31)];
        Assert.Single(VllmBlockHasher.HashTokens(VllmBlockHasher.Root(""), tokens));
        Assert.Single(SglangPageHasher.HashTokens(tokens, 16));
        Assert.Empty(SglangPageHasher.HashTokens(tokens, 32));
    }

    [Fact]
    public void A_page_behind_another_is_hashed_with_it()
    {
        var pages = SglangPageHasher.HashTokens([1, 2, 3, 4], 2);
        Assert.Equal(SglangPageHasher.HashPage(pages[0], [3, 4]), pages[1]);
        Assert.NotEqual(SglangPageHasher.HashPage(null, [3, 4]), pages[1]);
    }
}
