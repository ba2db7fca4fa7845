using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KvCache.Engine.Storage;

namespace KvCache.SimulationTests.Model;

/// <summary>The blocks of a schedule: one chain, two layers each, of which each says which write it comes from.</summary>
internal static class TestBlocks
{
    public const int Count = 4;

    private const int LayerBytes = 16;

    public static KvLayout Layout { get; } = KvLayout.Opaque([0, LayerBytes, 2 * LayerBytes], 1);

    public static CacheNamespace Namespace { get; } = new() { Tenant = "default", Model = "simulated", Layout = Layout };

    public static byte[] EncodedNamespace { get; } = Namespace.Encoded.ToArray();

    public static BlockKey[] Keys { get; } =
        [.. Enumerable.Range(0, Count).Select(i => new BlockKey(Namespace.Id, PrefixHasher.HashBlock(PrefixHasher.TokenRoot, [i])))];

    public static string[] GrainKeys { get; } = [.. Keys.Select(key => key.ToGrainKey())];

    public static int NumberOf(BlockKey key) => Array.IndexOf(Keys, key);

    /// <summary>Chains of two: a longer one would not fit in the smallest arena, and keep its head.</summary>
    public static BlockLineage LineageOf(int block) => new(block % 2 == 0 ? default : Keys[block - 1].Hash, block % 2, 0, 0);

    public static void Fill(Span<byte> bytes, int block, ulong write)
    {
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[(layer * LayerBytes)..], write);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[((layer * LayerBytes) + 8)..], (ulong)block);
        }
    }

    /// <summary>The write that all layers of a block come from; null when they are torn or of another block.</summary>
    public static ulong? WriteOf(ReadOnlySpan<byte> bytes, int block)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        return words[0] == words[2] && words[1] == (ulong)block && words[3] == (ulong)block ? words[0] : null;
    }
}
