namespace KvCache.Engine.Storage;

/// <summary>What a tenant may take of a store, in bytes of its arena, the rounding of sizes included.</summary>
internal sealed record TenantLimits
{
    /// <summary>No limits but the arena's.</summary>
    public static TenantLimits None { get; } = new();

    /// <summary>Its part of what is not counted in bytes, 0 to 1: entries of the index.</summary>
    public double Part { get; init; } = 1;

    /// <summary>What nobody else's blocks take from the tenant. What it does not use is lent, and comes back when it is wanted.</summary>
    public long Share { get; init; } = long.MaxValue;

    /// <summary>Most that it may take, lent memory included.</summary>
    public long Cap { get; init; } = long.MaxValue;

    /// <summary>
    /// Most that may be out of reach of eviction: being written, leased, pinned. It is the tenant's share and its part of what is in
    /// nobody's, so that memory that is lent can always be taken back.
    /// </summary>
    public long Locked { get; init; } = long.MaxValue;

    /// <summary>Most that may be being written. One block at a time may be larger.</summary>
    public long Writing { get; init; } = long.MaxValue;

    /// <summary>Most that holds and mapped leases may keep, over all of the tenant's connections.</summary>
    public long Held { get; init; } = long.MaxValue;

    /// <summary>Most that may be pinned.</summary>
    public long Pinned { get; init; } = long.MaxValue;
}
