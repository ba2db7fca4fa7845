namespace KvCache.Engine.Storage;

/// <summary>
/// All blocks that have memory, by where it begins; unfinished and removed ones too. In parts that grow one at a time, so that no more than
/// one in 256 is moved at once. Guarded by the store's lock.
/// </summary>
internal sealed class EntriesByOffset
{
    private const int PartBits = 8;

    private readonly Dictionary<long, BlockEntry>?[] _parts = new Dictionary<long, BlockEntry>?[1 << PartBits];

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

    private static int PartOf(long offset) => (int)((ulong)offset * 0x9E3779B97F4A7C15 >> (64 - PartBits));
}
