namespace KvCache.Bench.Strategies;

/// <summary>
/// What a prompt costs: a node computes so many tokens a second and costs so much an hour, and while it waits for a cache it costs as much.
/// Memory, network and decoding are not counted, so that this compares strategies and is no bill.
/// </summary>
/// <param name="TokensPerSecond">Prefill speed of a node.</param>
/// <param name="PerHour">Price of a node's hour.</param>
internal sealed record PriceModel(double TokensPerSecond, double PerHour)
{
    /// <summary>Time of a prefill in milliseconds.</summary>
    public double PrefillMilliseconds(int tokens) => tokens / TokensPerSecond * 1000;

    /// <summary>Price of a million prompt tokens.</summary>
    /// <param name="busyMilliseconds">Time that nodes spent on prompts.</param>
    /// <param name="tokens">Tokens of the prompts.</param>
    public double PerMillionTokens(double busyMilliseconds, long tokens) => busyMilliseconds / 3_600_000 * PerHour / (tokens / 1e6);
}
