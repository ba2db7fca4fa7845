using System.Runtime.InteropServices;
using KvCache.Hashing;

namespace KvCache.UnitTests.Index;

/// <summary>Block keys for index tests.</summary>
internal static class Keys
{
    public static readonly NamespaceId Namespace = new(new TenantId(0x1122334455667788), 0x99AABBCCDDEEFF00);

    public static BlockHash Hash(int number) => new(MemoryMarshal.AsBytes((ReadOnlySpan<ulong>)[(ulong)number, 0, ~(ulong)number, 7]));

    public static BlockKey Key(int number) => new(Namespace, Hash(number));

    public static BlockKey Of(ulong tenant, int number) => new(new NamespaceId(new TenantId(tenant), 1), Hash(number));

    public static BlockHash[] Hashes(int first, int count) => [.. Enumerable.Range(first, count).Select(Hash)];

    /// <summary>Keys that all belong into one shard and start at nearly one slot, which only somebody who knows the secrets can
    /// choose.</summary>
    public static BlockKey[] Colliding(int count) =>
        [.. Enumerable.Range(0, int.MaxValue).Select(Key).Where(key => (KeyHash.Of(in key) & 0xFFC00000_000000FF) == 0xFFC00000_00000003)
            .Take(count)];
}
