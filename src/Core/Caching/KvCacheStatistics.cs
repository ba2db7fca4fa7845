using System.Globalization;
using System.Text;
using System.Text.Json;

namespace KvCache;

/// <summary>What a cache has done since it was created, or since <see cref="IKvCache.ResetStatistics"/>.</summary>
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

    /// <summary>Tokens whose KV was loaded. Some layers of a block count as their part of its tokens.</summary>
    public required long LoadedTokens { get; init; }

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

    /// <summary>What this process has done with each silo it talks to; empty for a cache without silos.</summary>
    public IReadOnlyList<SiloUse> Silos { get; init; } = [];

    /// <summary>What the silo says of itself, or null when it does not answer or there is none.</summary>
    public JsonElement? Silo { get; init; }

    /// <summary>The latest failure in words, whenever that was; null when there was none.</summary>
    public string? LastError { get; init; }

    /// <summary>Loaded blocks of all that were loaded or missed, 0 to 1.</summary>
    public double HitRate
    {
        get
        {
            var misses = Misses.Values.Sum();
            return Hits + misses == 0 ? 0 : (double)Hits / (Hits + misses);
        }
    }

    /// <summary>
    /// Time that the loaded tokens would have taken to compute, less the time of all matches and loads. It is as good as the speed that it
    /// is given; negative when the cache has cost more than it saved. Calls that ran at the same time count one by one.
    /// </summary>
    /// <param name="prefillTokensPerSecond">Tokens that the model prefills in a second, more than zero.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="prefillTokensPerSecond"/> is zero or less.</exception>
    public TimeSpan TimeSaved(double prefillTokensPerSecond)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(prefillTokensPerSecond);
        var seconds = LoadedTokens / prefillTokensPerSecond;
        var computing = seconds < TimeSpan.MaxValue.TotalSeconds ? TimeSpan.FromSeconds(seconds) : TimeSpan.MaxValue;
        return computing - Match.Total - Load.Total;
    }

    /// <summary>A line a person reads: hit rate, misses by reason, bytes, times, the last error.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        var culture = CultureInfo.InvariantCulture;
        text.Append(culture, $"{Hits} hits of {Hits + Misses.Values.Sum()} blocks ({HitRate * 100:0.0} %)");
        foreach (var (reason, count) in Misses)
        {
            if (count > 0)
                text.Append(culture, $", {count} {reason}");
        }

        text.Append(culture, $"; loaded {new ByteSize(LoadedBytes)}, stored {Stored} blocks, {new ByteSize(StoredBytes)}");
        Append("match", Match);
        Append("load", Load);
        Append("store", Store);
        if (MemoryBytes > 0)
            text.Append(culture, $"; {new ByteSize(MemoryBytes)} of memory");
        if (LastError is not null)
            text.Append(culture, $"; last error: {LastError}");
        return text.ToString();

        void Append(string name, LatencySummary latency)
        {
            if (latency.Count > 0)
                text.Append(culture, $"; {name} {latency}");
        }
    }
}

/// <summary>Distribution of a duration. Percentiles are upper bounds in whole microseconds, at most 25 % above the true value.</summary>
/// <param name="Count">Number of calls.</param>
/// <param name="P50">Half of the calls took at most this.</param>
/// <param name="P95">95 % of the calls took at most this.</param>
/// <param name="P99">99 % of the calls took at most this.</param>
/// <param name="Max">Longest call.</param>
/// <param name="Total">Time of all calls together, those of less than a microsecond as one.</param>
public readonly record struct LatencySummary(
    long Count, TimeSpan P50, TimeSpan P95, TimeSpan P99, TimeSpan Max, TimeSpan Total)
{
    /// <summary>Time of a call on average; zero without calls.</summary>
    public TimeSpan Average => Count == 0 ? TimeSpan.Zero : Total / Count;

    /// <summary>A part of a line a person reads.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Count}× avg {Average.TotalMilliseconds:0.###} p50 {P50.TotalMilliseconds:0.###} p95 {P95.TotalMilliseconds:0.###} "
        + $"p99 {P99.TotalMilliseconds:0.###} max {Max.TotalMilliseconds:0.###} ms");
}

/// <summary>What a client has done with one silo, since it was created.</summary>
/// <param name="Endpoint">Address of the silo.</param>
/// <param name="LoadedBlocks">Blocks that it delivered.</param>
/// <param name="StoredBlocks">Blocks that it stored for this client.</param>
/// <param name="MovedBytes">Bytes of both directions, everything included.</param>
/// <param name="Failures">Calls that it refused, broke or did not answer in time.</param>
/// <param name="IsLeftAlone">Whether its circuit breaker is open.</param>
/// <param name="LastError">The latest failure in words, whenever that was; null when there was none.</param>
public sealed record SiloUse(
    string Endpoint, long LoadedBlocks, long StoredBlocks, long MovedBytes, long Failures, bool IsLeftAlone, string? LastError);
