using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <summary>What a tenant's part of a store has forgotten, what that cost, and what it has learned.</summary>
internal sealed record EvictionStatistics
{
    /// <summary>Classes that are told of.</summary>
    public const int MostClasses = 16;

    /// <summary>Seconds between two uses of a block; null before that was learned, or by a policy that learns nothing.</summary>
    public AgeQuantiles? ReuseAge { get; init; }

    /// <summary>Seconds from the last use of a block until it was evicted; null before the first.</summary>
    public AgeQuantiles? EvictionAge { get; init; }

    /// <summary>Blocks that were asked for after they had been evicted, or had got no room, as far as is remembered.</summary>
    public long WantedAgain { get; init; }

    /// <summary>What memory of other sizes would hit, estimated from a sample, by least recent use; empty before the first eviction.</summary>
    public IReadOnlyList<MemoryEstimate> Memory { get; init; } = [];

    /// <summary>The classes of blocks that are used most, and what was learned of each.</summary>
    public IReadOnlyList<ClassInsight> Classes { get; init; } = [];

    /// <summary>Of blocks that are or were visible; null stands for none.</summary>
    public static EvictionStatistics Of(TenantBlocks? blocks)
    {
        var memory = blocks?.Curve?.Estimates ?? [];
        return blocks?.Policy.Describe(MostClasses) is not { } insight
            ? new EvictionStatistics { Memory = memory }
            : new EvictionStatistics
            {
                ReuseAge = insight.ReuseAge,
                EvictionAge = insight.EvictionAge,
                WantedAgain = insight.Wanted,
                Memory = memory,
                Classes = insight.Classes,
            };
    }
}
