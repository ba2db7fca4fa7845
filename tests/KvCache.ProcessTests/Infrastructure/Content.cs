using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>
/// The one right content of a block: a function of its key and of the position, so that any wrong byte is found, whatever
/// block or place it comes from. Layers begin at multiples of 8 bytes.
/// </summary>
internal static class Content
{
    private const ulong Step = 0x9E3779B97F4A7C15;

    public static void Fill(Span<byte> block, BlockKey key)
    {
        var seed = Seed(key);
        var words = MemoryMarshal.Cast<byte, ulong>(block);
        for (var i = 0; i < words.Length; i++)
            words[i] = Word(seed, i);
        Tail(seed, words.Length).AsSpan(0, block.Length % sizeof(ulong)).CopyTo(block[(words.Length * sizeof(ulong))..]);
    }

    public static byte[] Of(KvPrefix prefix, int block)
    {
        var bytes = new byte[prefix.Namespace.Layout.BlockBytes];
        Fill(bytes, new BlockKey(prefix.Namespace.Id, prefix.Chain.Hashes[block]));
        return bytes;
    }

    /// <summary>Whether bytes are the block's, from an offset that is a multiple of 8 on.</summary>
    public static bool IsRight(ReadOnlySpan<byte> bytes, BlockKey key, int offset = 0)
    {
        var seed = Seed(key);
        var first = offset / sizeof(ulong);
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (var i = 0; i < words.Length; i++)
        {
            if (words[i] != Word(seed, first + i))
                return false;
        }

        return bytes[(words.Length * sizeof(ulong))..]
            .SequenceEqual(Tail(seed, first + words.Length).AsSpan(0, bytes.Length % sizeof(ulong)));
    }

    private static ulong Seed(BlockKey key)
    {
        Span<byte> bytes = stackalloc byte[NamespaceId.Size + BlockHash.Size];
        key.Namespace.CopyTo(bytes);
        key.Hash.CopyTo(bytes[NamespaceId.Size..]);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes) ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes[NamespaceId.Size..]);
    }

    private static ulong Word(ulong seed, int index) => (seed ^ (ulong)index) * Step;

    private static byte[] Tail(ulong seed, int index) => BitConverter.GetBytes(Word(seed, index));
}
