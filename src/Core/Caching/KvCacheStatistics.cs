using System.Text.Json;

namespace KvCache;

/// <summary>What a cache has done since it was created.</summary>
public sealed record KvCacheStatistics
{
    /// <summary>Blocks loaded.</summary>
    public required long Hits { get; init; }

    /// <summary>Blocks looked for by a match and not found, or asked for by a load and not loaded, by reason.</summary>
    public required IReadOnlyDictionary<MissReason, long> Misses { get; init; }

    /// <summary>Blocks stored.</summary>
    public required long Stored { get; init; }

    /// <summary>Bytes loaded into callers' memory.</summary>
    public required long LoadedBytes { get; init; }

    /// <summary>Bytes sent or copied to be stored.</summary>
    public required long StoredBytes { get; init; }

    /// <summary>Time of matches.</summary>
    public required LatencySummary Match { get; init; }

    /// <summary>Time of loads.</summary>
    public required LatencySummary Load { get; init; }

    /// <summary>Time of stores.</summary>
    public required LatencySummary Store { get; init; }

    /// <summary>Bytes of block memory that this process itself uses for the cache; 0 for a client without L1.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>What this process has done with each silo it talks to; empty for a cache of this process alone.</summary>
    public IReadOnlyList<SiloUse> Silos { get; init; } = [];

    /// <summary>What the silo says of itself, or null when it does not answer or there is none.</summary>
    public JsonElement? Silo { get; init; }

    /// <summary>Loaded blocks of all that were loaded or missed, 0 to 1.</summary>
    public double HitRate
    {
        get
        {
            var misses = Misses.Values.Sum();
            return Hits + misses == 0 ? 0 : (double)Hits / (Hits + misses);
        }
    }
}

/// <summary>Distribution of a duration. Percentiles are upper bounds in whole microseconds, at most 25 % above the true value.</summary>
/// <param name="Count">Number of calls.</param>
/// <param name="P50">Half of the calls took at most this.</param>
/// <param name="P99">99 % of the calls took at most this.</param>
/// <param name="Max">Longest call.</param>
public readonly record struct LatencySummary(long Count, TimeSpan P50, TimeSpan P99, TimeSpan Max);

/// <summary>What a client has done with one silo.</summary>
/// <param name="Endpoint">Address of the silo.</param>
/// <param name="LoadedBlocks">Blocks that it delivered.</param>
/// <param name="StoredBlocks">Blocks that it stored for this client.</param>
/// <param name="MovedBytes">Bytes of both directions, everything included.</param>
/// <param name="Failures">Calls that it refused, broke or did not answer in time.</param>
/// <param name="IsLeftAlone">Whether its circuit breaker is open.</param>
public sealed record SiloUse(string Endpoint, long LoadedBlocks, long StoredBlocks, long MovedBytes, long Failures, bool IsLeftAlone);
