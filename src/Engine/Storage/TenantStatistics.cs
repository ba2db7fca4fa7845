namespace KvCache.Engine.Storage;

/// <summary>What a tenant has in a store, and has used of it since the start: enough for a bill.</summary>
internal record TenantStatistics
{
    /// <summary>Visible blocks.</summary>
    public required int Blocks { get; init; }

    /// <summary>Arena bytes, unfinished blocks and the rounding of sizes included.</summary>
    public required long UsedBytes { get; init; }

    /// <summary>Arena bytes that are guaranteed; null where there are no limits.</summary>
    public required long? ShareBytes { get; init; }

    /// <summary>Arena bytes that cannot be evicted now.</summary>
    public required long LockedBytes { get; init; }

    /// <summary>Arena bytes of unfinished blocks.</summary>
    public required long WritingBytes { get; init; }

    /// <summary>Arena bytes of pinned blocks.</summary>
    public required long PinnedBytes { get; init; }

    /// <summary>Arena bytes that holds and mapped leases keep; a block counts once for each of them.</summary>
    public required long HeldBytes { get; init; }

    /// <summary>Arena bytes × seconds.</summary>
    public required double ByteSeconds { get; init; }

    /// <summary>Blocks that became visible here; copies of other silos' blocks do not count.</summary>
    public required long WrittenBlocks { get; init; }

    /// <summary>Tokens in them.</summary>
    public required long WrittenTokens { get; init; }

    /// <summary>Blocks served.</summary>
    public required long ReadBlocks { get; init; }

    /// <summary>Tokens in them.</summary>
    public required long ReadTokens { get; init; }

    /// <summary>Blocks asked for and not served.</summary>
    public required long MissedBlocks { get; init; }

    /// <summary>Blocks evicted.</summary>
    public required long Evicted { get; init; }

    /// <summary>Writes refused for want of memory, or by a limit.</summary>
    public required long Refused { get; init; }

    /// <summary>What was forgotten, and what was learned.</summary>
    public required EvictionStatistics Eviction { get; init; }
}
