using KvCache.Engine.Storage;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>A block that is on the disk, or is about to be. What may change is guarded by the lock of its <see
/// cref="DiskIndex"/>.</summary>
internal sealed class DiskBlock(BlockKey key, ulong generation, KvLayout layout, in BlockLineage lineage, BlockDurability durability)
{
    public readonly BlockKey Key = key;
    public readonly ulong Generation = generation;
    public readonly KvLayout Layout = layout;
    public readonly BlockLineage Lineage = lineage;
    public readonly BlockDurability Durability = durability;

    /// <summary>End of its life in Unix milliseconds; 0 when it has none.</summary>
    public long ExpiresAt;

    /// <summary>Where it lies; null while it waits to be written.</summary>
    public DiskSegment? Segment;

    /// <summary>Its number in the segment.</summary>
    public int Index;

    /// <summary>Page of the segment with which it begins.</summary>
    public int Page;

    /// <summary>Read since it was written: worth writing once more when its segment goes.</summary>
    public bool WasRead;

    /// <summary>Deleted, expired, damaged or written anew: not to be read any more.</summary>
    public bool IsGone;

    /// <summary>Pages of what comes before its bytes.</summary>
    public int HeadPages => DiskSegment.PagesOf(Payloads.PayloadFormat.HeadBytes(Layout));

    /// <summary>Pages that it takes.</summary>
    public int TotalPages(bool isSealed) => HeadPages + DiskSegment.PagesOf(BodyBytes(isSealed));

    /// <summary>Bytes on the disk behind the head.</summary>
    public long BodyBytes(bool isSealed) => isSealed ? Payloads.PayloadSeal.SealedBytes(Layout.BlockBytes) : Layout.BlockBytes;

    /// <summary>Whether its life is over.</summary>
    public bool IsOver(DateTimeOffset now) => ExpiresAt != 0 && ExpiresAt <= now.ToUnixTimeMilliseconds();
}
