namespace KvCache.Engine.Storage;

/// <summary>A snapshot of a store's counters.</summary>
internal sealed record BlockStoreStatistics
{
    /// <summary>Sealed, visible blocks.</summary>
    public required int Blocks { get; init; }

    /// <summary>Bytes of visible blocks, without the rounding of sizes.</summary>
    public required long BlockBytes { get; init; }

    /// <summary>Blocks with at least one lease.</summary>
    public required int LeasedBlocks { get; init; }

    /// <summary>Arena bytes of pinned blocks, including the rounding of sizes.</summary>
    public required long PinnedBytes { get; init; }

    /// <summary>Arena bytes of copies of blocks that other silos hold, those being written included.</summary>
    public required long CopiedBytes { get; init; }

    /// <summary>Writes that were begun and are not finished.</summary>
    public required int Writing { get; init; }

    /// <summary>Configured size of the arena in bytes.</summary>
    public required long ArenaBytes { get; init; }

    /// <summary>Bytes that are touched and usable.</summary>
    public required long ArenaCommittedBytes { get; init; }

    /// <summary>Bytes that are allocated, including writes in progress and the rounding of sizes.</summary>
    public required long ArenaUsedBytes { get; init; }

    /// <summary>Share of free memory outside the largest free run, 0 to 1.</summary>
    public required double Fragmentation { get; init; }

    /// <summary>Blocks published since the start.</summary>
    public required long Published { get; init; }

    /// <summary>Blocks evicted to make room.</summary>
    public required long Evicted { get; init; }

    /// <summary>Bytes evicted to make room.</summary>
    public required long EvictedBytes { get; init; }

    /// <summary>Blocks whose time to live ended.</summary>
    public required long Expired { get; init; }

    /// <summary>Blocks deleted on request.</summary>
    public required long Deleted { get; init; }

    /// <summary>Blocks dropped because their bytes no longer matched their checksums.</summary>
    public required long Corrupt { get; init; }

    /// <summary>Writes refused for want of evictable memory.</summary>
    public required long Refused { get; init; }

    /// <summary>Hints about chains that were here; those that come with a get or a put do not count.</summary>
    public required long Hints { get; init; }
}
