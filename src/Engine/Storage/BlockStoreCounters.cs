namespace KvCache.Engine.Storage;

/// <summary>What a store counts; guarded by its lock.</summary>
internal sealed class BlockStoreCounters
{
    public int Blocks;
    public long BlockBytes;
    public long PinnedBytes;
    public long CopiedBytes;
    public int LeasedBlocks;
    public int Writing;
    public long Published;
    public long Evicted;
    public long EvictedBytes;
    public long Expired;
    public long Deleted;
    public long Corrupt;
    public long Refused;
    public long Hints;
    public long UsedAhead;

    public BlockStoreStatistics Snapshot(Arena arena) => new()
    {
        Blocks = Blocks,
        BlockBytes = BlockBytes,
        LeasedBlocks = LeasedBlocks,
        PinnedBytes = PinnedBytes,
        CopiedBytes = CopiedBytes,
        Writing = Writing,
        ArenaBytes = arena.Capacity,
        ArenaCommittedBytes = arena.CommittedBytes,
        ArenaUsedBytes = arena.UsedBytes,
        Fragmentation = arena.Fragmentation,
        Published = Published,
        Evicted = Evicted,
        EvictedBytes = EvictedBytes,
        Expired = Expired,
        Deleted = Deleted,
        Corrupt = Corrupt,
        Refused = Refused,
        Hints = Hints,
    };
}
