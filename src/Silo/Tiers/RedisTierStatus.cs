namespace KvCache.Silo.Tiers;

/// <summary>How the Redis tier is, for health reports.</summary>
internal sealed record RedisTierStatus
{
    /// <summary>Where Redis is, without secrets.</summary>
    public required string Endpoint { get; init; }

    /// <summary>Redis failed and is left alone until a probe succeeds: blocks are neither read from it nor written to it.</summary>
    public required bool BreakerOpen { get; init; }

    /// <summary>The latest failure in words, whenever that was; null when there was none.</summary>
    public required string? LastError { get; init; }

    /// <summary>Bytes of blocks that wait to be written, or are being written.</summary>
    public required long QueuedBytes { get; init; }

    /// <summary>Most bytes that may wait.</summary>
    public required long MaxQueuedBytes { get; init; }

    /// <summary>Blocks that wait to be written, or are being written.</summary>
    public required int QueuedBlocks { get; init; }

    /// <summary>Deletions and changed lives that Redis has not confirmed yet.</summary>
    public required int PendingChanges { get; init; }

    /// <summary>Blocks that should have been written since the start and were not, by reason; reasons that did not occur are left
    /// out.</summary>
    public required IReadOnlyDictionary<PersistOutcome, long> Dropped { get; init; }
}
