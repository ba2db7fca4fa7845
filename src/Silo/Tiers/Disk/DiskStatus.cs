namespace KvCache.Silo.Tiers.Disk;

/// <summary>How the disk tier is.</summary>
internal sealed record DiskStatus
{
    /// <summary>The folder.</summary>
    public required string Path { get; init; }

    /// <summary>Most bytes of its files.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Bytes of its files.</summary>
    public required long UsedBytes { get; init; }

    /// <summary>Blocks that can be read.</summary>
    public required int Blocks { get; init; }

    /// <summary>Their bytes on the disk.</summary>
    public required long BlockBytes { get; init; }

    /// <summary>Segment files.</summary>
    public required int Segments { get; init; }

    /// <summary>Bytes written since the silo began.</summary>
    public required long WrittenBytes { get; init; }

    /// <summary>How often a day the whole size was written since then.</summary>
    public required double WritesPerDay { get; init; }

    /// <summary>Blocks read since then.</summary>
    public required long ReadBlocks { get; init; }

    /// <summary>Their bytes.</summary>
    public required long ReadBytes { get; init; }

    /// <summary>Whether the disk is left alone because it failed.</summary>
    public required bool IsLeftAlone { get; init; }

    /// <summary>Whether what the start has found can be read.</summary>
    public required bool IsTrusted { get; init; }

    /// <summary>The latest failure; null for none.</summary>
    public string? LastError { get; init; }
}
