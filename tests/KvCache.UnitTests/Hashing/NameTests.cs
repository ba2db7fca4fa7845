using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class NameTests
{
    private static readonly Gen<byte[]> HashBytes = Gen.Byte.Array[BlockHash.Size];

    [Fact]
    public void A_hash_is_its_bytes_in_memory_and_in_text() =>
        HashBytes.Sample(bytes =>
        {
            var hash = new BlockHash(bytes);
            Assert.Equal(bytes, BlockHash.BytesOf(ref hash));
            Assert.Equal(Convert.ToHexStringLower(bytes), hash.ToString());
            Assert.True(BlockHash.TryParse(hash.ToString().ToUpperInvariant(), out var parsed));
            Assert.Equal(hash, parsed);
            Assert.Equal(hash.GetHashCode(), parsed.GetHashCode());
            Assert.StartsWith(hash.ToShortString(), hash.ToString(), StringComparison.Ordinal);
        });

    [Fact]
    public void Two_hashes_are_equal_when_every_byte_is() =>
        Gen.Select(HashBytes, Gen.Int[0, BlockHash.Size - 1], Gen.Byte[1, 255]).Sample((bytes, at, change) =>
        {
            var hash = new BlockHash(bytes);
            bytes[at] ^= change;
            Assert.True(hash != new BlockHash(bytes));
            Assert.False(hash.Equals((object)new BlockHash(bytes)));
        });

    [Fact]
    public void The_key_of_a_grain_is_the_key_of_its_block() =>
        Gen.Select(Gen.ULong, Gen.ULong, HashBytes).Sample((high, low, bytes) =>
        {
            var key = new BlockKey(new NamespaceId(new TenantId(high), low), new BlockHash(bytes));
            Assert.True(BlockKey.TryParseGrainKey(key.ToGrainKey(), out var parsed));
            Assert.Equal(key, parsed);
            Assert.Equal(key.GetHashCode(), parsed.GetHashCode());
        });

    [Fact]
    public void What_is_not_quite_the_key_of_a_grain_is_none() =>
        Gen.Select(Gen.Int[0, 96], Gen.Char["/g \0"]).Sample((at, wrong) =>
        {
            var text = new BlockKey(new NamespaceId(new TenantId(1), 2), PrefixHasher.TokenRoot).ToGrainKey().ToCharArray();
            var same = text[at] == wrong;
            text[at] = wrong;
            Assert.Equal(same, BlockKey.TryParseGrainKey(new string(text), out _));
            Assert.False(BlockKey.TryParseGrainKey(new string(text, 0, at), out _));
        });

    [Fact]
    public void Too_few_bytes_or_digits_are_no_name()
    {
        Assert.Throws<ArgumentException>(() => new BlockHash(new byte[BlockHash.Size - 1]));
        Assert.False(BlockHash.TryParse("00", out _));
        Assert.False(NamespaceId.TryParse(new string('x', 32), out _));
        Assert.False(BlockKey.TryParseGrainKey(null, out _));
        Assert.True(default(BlockHash).IsZero);
        Assert.False(PrefixHasher.TokenRoot.IsZero);
    }
}
