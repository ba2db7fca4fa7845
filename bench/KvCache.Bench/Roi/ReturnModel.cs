namespace KvCache.Bench.Roi;

/// <summary>
/// What a cache gains by what is assumed: a token is computed at one speed or loaded at another, a node and memory cost so much an hour.
/// Nothing is measured, and decoding is left out: a cache does not change it.
/// </summary>
/// <param name="TokensPerSecond">Prefill speed of a node.</param>
/// <param name="BytesPerToken">KV of a token, all layers.</param>
/// <param name="BytesPerSecond">Speed at which KV is loaded.</param>
/// <param name="LookupSeconds">What a request waits for the look-up.</param>
/// <param name="NodePerHour">Price of a node's hour.</param>
/// <param name="MemoryPerHour">Price of the cache's memory of a node for an hour.</param>
internal sealed record ReturnModel(
    double TokensPerSecond, double BytesPerToken, double BytesPerSecond, double LookupSeconds, double NodePerHour, double MemoryPerHour)
{
    /// <summary>Time to load a token by the time to compute it. At 1 and above a cache gains nothing.</summary>
    public double LoadShare => BytesPerToken / BytesPerSecond * TokensPerSecond;

    /// <summary>Seconds of a prefill.</summary>
    public double Cold(double tokens) => tokens / TokensPerSecond;

    /// <summary>Seconds of a prompt of which a share is cached.</summary>
    public double Warm(double tokens, double hitRate) =>
        LookupSeconds + (Cold(tokens) * (1 - hitRate)) + (Cold(tokens) * hitRate * LoadShare);

    /// <summary>How many times more prompts a node finishes.</summary>
    public double Throughput(double tokens, double hitRate) => Cold(tokens) / Warm(tokens, hitRate);

    /// <summary>Price of a million prompt tokens without a cache.</summary>
    public double ColdPrice => 1e6 / TokensPerSecond / 3600 * NodePerHour;

    /// <summary>Price of a million prompt tokens with one, its memory included.</summary>
    public double WarmPrice(double tokens, double hitRate) =>
        1e6 / tokens * Warm(tokens, hitRate) / 3600 * (NodePerHour + MemoryPerHour);

    /// <summary>The share of tokens that has to be cached for so much less work; null where no hit rate is enough.</summary>
    /// <param name="tokens">Length of the prompts.</param>
    /// <param name="factor">Work without a cache by work with it.</param>
    public double? HitRateFor(double tokens, double factor)
    {
        var needed = (1 - (1 / factor) + (LookupSeconds / Cold(tokens))) / (1 - LoadShare);
        return LoadShare < 1 && needed is >= 0 and <= 1 ? needed : null;
    }

    /// <summary>The hit rate from which the cache earns its memory; null where it never does.</summary>
    public double? BreakEven(double tokens) => HitRateFor(tokens, (NodePerHour + MemoryPerHour) / NodePerHour);
}
