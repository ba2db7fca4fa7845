namespace KvCache.UnitTests.Support;

internal static class Blocks
{
    /// <summary>Random bytes for every block of a prefix.</summary>
    public static byte[][] Of(KvPrefix prefix, int seed)
    {
        var random = new Random(seed);
        var blocks = Empty(prefix);
        Array.ForEach(blocks, random.NextBytes);
        return blocks;
    }

    public static byte[][] Empty(KvPrefix prefix) =>
        [.. Enumerable.Range(0, prefix.BlockCount).Select(_ => new byte[prefix.Namespace.Layout.BlockBytes])];

    public static ReadOnlyMemory<byte>[] ToStore(byte[][] blocks) => Array.ConvertAll(blocks, block => new ReadOnlyMemory<byte>(block));

    public static Memory<byte>[] ToLoad(byte[][] blocks) => Array.ConvertAll(blocks, block => new Memory<byte>(block));
}
