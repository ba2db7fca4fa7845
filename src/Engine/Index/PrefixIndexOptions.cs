namespace KvCache.Engine.Index;

/// <summary>Bounds of a <see cref="PrefixIndex"/>.</summary>
internal sealed class PrefixIndexOptions
{
    /// <summary>
    /// Most blocks that the index knows. Past it new blocks are refused and counted: they are not found through the index, and
    /// nothing else suffers. A block costs 80 to 121 bytes. Default 4,194,304, which is at most 484 MiB.
    /// </summary>
    public int MaxEntries { get; set; } = 4 * 1024 * 1024;
}
