using System.IO.Hashing;
using CsCheck;
using KvCache.Checksums;
using Xunit;

namespace KvCache.UnitTests;

public sealed class BlockChecksumTests
{
    [Fact]
    public void The_check_value_of_the_standard_is_met() =>
        Assert.Equal(0xCBF43926, BlockChecksum.Compute("123456789"u8));

    [Fact]
    public void Every_length_has_the_same_checksum_as_the_runtime_library()
    {
        var bytes = new byte[3000];
        new Random(1).NextBytes(bytes);
        for (var length = 0; length < 2000; length++)
            Assert.Equal(Crc32.HashToUInt32(bytes.AsSpan(length % 65, length)), BlockChecksum.Compute(bytes.AsSpan(length % 65, length)));
    }

    [Fact]
    public void Pieces_of_any_size_give_the_checksum_of_the_whole() =>
        Gen.Select(Gen.Byte.Array[0, 4000], Gen.Int[0, 4000]).Sample((bytes, at) =>
        {
            at = Math.Min(at, bytes.Length);
            return BlockChecksum.Append(BlockChecksum.Compute(bytes.AsSpan(0, at)), bytes.AsSpan(at)) == Crc32.HashToUInt32(bytes);
        });
}
