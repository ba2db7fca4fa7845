using System.ComponentModel.DataAnnotations;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>The disk tier: blocks that leave the arena, on a disk of this machine.</summary>
internal sealed class DiskOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Disk";

    /// <summary>Fewest segments that a disk is divided into: one is written, one is given up, the others are read.</summary>
    public const int MinSegments = 4;

    private const long MostSegments = 4096;

    private const long MinSegmentBytes = 1 << 20, MaxSegmentBytes = 4L << 30;

    /// <summary>Folder of the segment files, for this silo alone. Default empty: no disk tier. It is made where it is missing.</summary>
    public string Path { get; set; } = "";

    /// <summary>Most bytes of all files in the folder. Needed with a path.</summary>
    public ByteSize Size { get; set; }

    /// <summary>Bytes of a segment file, 1 MiB to 4 GiB. Default 0: a 64th of the size, within 16 MiB to 256 MiB. What a killed silo has
    /// not sealed is lost: at most one segment.</summary>
    public ByteSize SegmentSize { get; set; }

    /// <summary>Smallest block that goes to the disk. Default 16 KiB: a page of 4 KiB lies before every block.</summary>
    public ByteSize MinBlockSize { get; set; } = new(16 << 10);

    /// <summary>Name of the silo that the folder belongs to; another name ends the start. Default empty: the name of the cluster and of the
    /// machine. Where machines get new names and keep their disks, name the disk.</summary>
    [StringLength(256)]
    public string Owner { get; set; } = "";

    /// <summary>Whether files bypass the system's cache (O_DIRECT), where the file system lets them. Default true.</summary>
    public bool Direct { get; set; } = true;

    /// <summary>Whether blocks are encrypted and authenticated, with the keys of <c>KvCache:Redis:SealFile</c>. Default false.</summary>
    public bool Encrypt { get; set; }

    /// <summary>How often a day the whole size may be written. Default 0: there is no limit. With one, blocks that were never used again
    /// stay away first, then all, until the day has room.</summary>
    [Range(0, 1000)]
    public double WritesPerDay { get; set; }

    /// <summary>Threads that read. Default 4.</summary>
    [Range(1, 64)]
    public int Readers { get; set; } = 4;

    /// <summary>Most reads that wait for a thread. Default 1024; further ones are misses.</summary>
    [Range(1, 1_000_000)]
    public int MaxQueuedReads { get; set; } = 1024;

    /// <summary>Longest time that a reader of a block waits for the disk. Default 2 s; then it is a miss, and counts as a
    /// failure.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:10:00")]
    public TimeSpan ReadTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Time after which a segment that nothing more comes into is sealed. Default 5 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00")]
    public TimeSpan SealAfter { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Time that a stopping silo goes on writing what is in its memory and not on the disk, the latest used first. Default 10 s; 0
    /// for not at all.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Time that a silo which comes back waits for another one that can say what was deleted meanwhile. Default 1 min; then what
    /// lies on its disk is dropped. A silo that was alone waits for nobody.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan TrustTimeout { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Failures in a row after which the disk is left alone. Default 3.</summary>
    [Range(1, 1000)]
    public int BreakerFailures { get; set; } = 3;

    /// <summary>Time until a disk that is left alone is tried again; doubles with every failure, up to 30 s. Default 1 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:00:30")]
    public TimeSpan BreakerDelay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Bytes of a segment file.</summary>
    internal long SegmentBytes => (SegmentSize.Bytes > 0 ? SegmentSize.Bytes : Math.Clamp(Size.Bytes / 64, 16L << 20, Math.Max(256L << 20, Size.Bytes / MostSegments)))
        / DiskSegment.PageBytes * DiskSegment.PageBytes;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Path.Length == 0)
        {
            if (Size.Bytes != 0)
                yield return new ValidationResult(
                    $"{Section}:Size is {Size}, and {Section}:Path is empty; a folder was expected (--disk).", [nameof(Path)]);
            yield break;
        }

        if (!System.IO.Path.IsPathFullyQualified(Path))
            yield return new ValidationResult(
                $"{Section}:Path is '{Path}'; an absolute path was expected, for example /var/lib/kvcache.", [nameof(Path)]);
        if (SegmentSize.Bytes != 0 && SegmentSize.Bytes is < MinSegmentBytes or > MaxSegmentBytes)
            yield return new ValidationResult(
                $"{Section}:SegmentSize is {SegmentSize}; {new ByteSize(MinSegmentBytes)} to {new ByteSize(MaxSegmentBytes)} were "
                + "expected.", [nameof(SegmentSize)]);
        else if (Size.Bytes / SegmentBytes > MostSegments)
            yield return new ValidationResult(
                $"{Section}:Size is {Size}, {Size.Bytes / SegmentBytes:N0} segments of {new ByteSize(SegmentBytes)}; at most "
                + $"{MostSegments:N0} were expected, for each is an open file. Raise {Section}:SegmentSize.", [nameof(SegmentSize)]);
        else if (Size.Bytes < MinSegments * SegmentBytes)
            yield return new ValidationResult(
                $"{Section}:Size is {Size}; at least {MinSegments} segments of {new ByteSize(SegmentBytes)} were expected (--disk-size).",
                [nameof(Size)]);
    }
}
