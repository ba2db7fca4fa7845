namespace KvCache.Engine.Storage;

/// <summary>
/// All blocks that have memory, by where it begins; unfinished and removed ones too. In parts that grow one at a time, each for some
/// stretches of 4 MiB, so that little is moved at once, and whoever walks over memory stays in one part for a while. Guarded by the store's
/// lock.
/// </summary>
internal sealed class EntriesByOffset
{
    private const int Parts = 1024, StretchBits = 22;

    private readonly Dictionary<long, BlockEntry>?[] _parts = new Dictionary<long, BlockEntry>?[Parts];

    /// <summary>Blocks that have memory.</summary>
    public int Count { get; private set; }

    public void Add(BlockEntry entry)
    {
        (_parts[PartOf(entry.Offset)] ??= []).Add(entry.Offset, entry);
        Count++;
    }

    public void Remove(BlockEntry entry)
    {
        _parts[PartOf(entry.Offset)]!.Remove(entry.Offset);
        Count--;
    }

    /// <summary>The block whose memory begins there, or null.</summary>
    public BlockEntry? Find(long offset) => _parts[PartOf(offset)]?.GetValueOrDefault(offset);

    private static int PartOf(long offset) => (int)(offset >> StretchBits) & (Parts - 1);
}
