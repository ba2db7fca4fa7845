using System.Buffers.Binary;
using System.Security.Cryptography;
using KvCache.UnitTests.Index;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Fault T4: clients choose keys, and must not choose buckets.</summary>
public sealed class KeyedHashTests
{
    private const int Keys = 65_536;

    // Buckets of a dictionary are the hash code modulo its size; the longest chain is what a flood is about.
    private const int Buckets = 65_537;

    public static TheoryData<int> Words => [0, 1, 2, 3];

    [Theory]
    [MemberData(nameof(Words))]
    public void Hashes_that_differ_in_one_word_only_spread_like_random_ones(int word)
    {
        var bytes = new byte[BlockHash.Size];
        Assert.True(CostOf(i =>
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(word * sizeof(ulong)), (ulong)i);
            return new BlockHash(bytes);
        }) <= 1.5 * CostOf(Random));
    }

    [Fact]
    public void Hashes_whose_words_cancel_each_other_out_spread_like_random_ones()
    {
        var bytes = new byte[BlockHash.Size];
        Assert.True(CostOf(i =>
        {
            for (var word = 0; word < BlockHash.Size / sizeof(ulong); word++)
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(word * sizeof(ulong)), word % 2 == 0 ? (ulong)i : 0 - (ulong)i);
            return new BlockHash(bytes);
        }) <= 1.5 * CostOf(Random));
    }

    [Fact]
    public void Keys_of_chosen_namespaces_spread_like_random_ones()
    {
        var hash = Random(0);
        Assert.True(CostOf(i => new BlockKey(new NamespaceId(new TenantId(1), (ulong)i << 32), hash)) <= 1.5 * CostOf(Random));
        Assert.True(CostOf(i => new NamespaceId(new TenantId(1), (ulong)i << 32)) <= 1.5 * CostOf(Random));
    }

    private static BlockHash Random(int number) => new(RandomNumberGenerator.GetBytes(BlockHash.Size));

    // Comparisons that looking up every key once would take.
    private static double CostOf<T>(Func<int, T> key)
        where T : struct
    {
        var chains = new int[Buckets];
        for (var i = 0; i < Keys; i++)
            chains[(uint)key(i).GetHashCode() % Buckets]++;
        return chains.Sum(length => length * (length + 1) / 2.0);
    }
}
