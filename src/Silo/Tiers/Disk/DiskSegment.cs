namespace KvCache.Silo.Tiers.Disk;

/// <summary>One file of the disk tier. Guarded by the lock of its <see cref="DiskIndex"/>, but for the file.</summary>
internal sealed class DiskSegment(long number, string path, DirectFile file, bool isSealed) : IDisposable
{
    /// <summary>What everything in a segment is aligned to, and measured in.</summary>
    public const int PageBytes = 4096;

    private bool _isRemoved;

    /// <summary>Its number: segments are written in this order.</summary>
    public long Number => number;

    /// <summary>Path of the file.</summary>
    public string Path => path;

    /// <summary>The file.</summary>
    public DirectFile File => file;

    /// <summary>Whether bodies have tags, and may be encrypted.</summary>
    public bool IsSealedByKey => isSealed;

    /// <summary>Blocks by their number in the segment, those that are gone included.</summary>
    public List<DiskBlock> Blocks { get; } = [];

    /// <summary>Numbers that were given to blocks when it was completed: as many changes have a place.</summary>
    public int Slots { get; set; }

    /// <summary>Pages used so far; the first is the segment's own.</summary>
    public int Pages { get; set; } = 1;

    /// <summary>Bytes of the file.</summary>
    public long Bytes { get; set; }

    /// <summary>Pages of blocks that are not gone.</summary>
    public long LivePages { get; set; }

    /// <summary>Whether it is complete, and survives the silo.</summary>
    public bool IsComplete { get; set; }

    /// <summary>Whether it was given up, and its files are being deleted. Any thread.</summary>
    public bool IsRemoved
    {
        get => Volatile.Read(ref _isRemoved);
        set => Volatile.Write(ref _isRemoved, value);
    }

    /// <summary>Where changes of a complete segment are written down; null before there are any. The journal's.</summary>
    public SegmentChanges? Changes { get; set; }

    /// <summary>Pages that so many bytes take.</summary>
    public static int PagesOf(long bytes) => checked((int)((bytes + PageBytes - 1) / PageBytes));

    /// <summary>Bytes in whole pages.</summary>
    public static long RoundUp(long bytes) => (bytes + PageBytes - 1) / PageBytes * PageBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
        file.Dispose();
        Changes?.Dispose();
    }
}
