namespace KvCache.Benchmarks.Strategies;

/// <summary>
/// What a prompt costs: a node computes so many tokens a second and costs so much an hour, and while it waits for a cache it costs as much.
/// A cache's memory costs too, for as long as the nodes are busy. Network and decoding are not counted, so that this compares strategies
/// and is no bill.
/// </summary>
/// <param name="TokensPerSecond">Prefill speed of a node.</param>
/// <param name="PerHour">Price of a node's hour.</param>
/// <param name="PerGibHour">Price of a GiB of memory for an hour.</param>
internal sealed record PriceModel(double TokensPerSecond, double PerHour, double PerGibHour = 0)
{
    /// <summary>Time of a prefill in milliseconds.</summary>
    public double PrefillMilliseconds(int tokens) => tokens / TokensPerSecond * 1000;

    /// <summary>Price of a million prompt tokens.</summary>
    /// <param name="busyMilliseconds">Time that nodes spent on prompts.</param>
    /// <param name="tokens">Tokens of the prompts.</param>
    /// <param name="nodes">Nodes that shared the work.</param>
    /// <param name="memoryGib">Memory of the cache meanwhile.</param>
    public double PerMillionTokens(double busyMilliseconds, long tokens, int nodes = 1, double memoryGib = 0) =>
        busyMilliseconds / 3_600_000 * (PerHour + (memoryGib * PerGibHour / nodes)) / (tokens / 1e6);
}
