namespace KvCache;

/// <summary>Whether a cache answers now.</summary>
/// <param name="IsAvailable">Whether it does.</param>
/// <param name="Latency">Time that the answer took, or that was waited in vain.</param>
/// <param name="Problem">What is wrong, in a sentence; null when nothing is.</param>
public readonly record struct CacheHealth(bool IsAvailable, TimeSpan Latency, string? Problem);
