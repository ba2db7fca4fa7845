namespace KvCache;

/// <summary>What a store says about its blocks.</summary>
/// <param name="TimeToLive">Life of the blocks; null for as long as memory lasts. Rounded up to seconds.</param>
/// <param name="RequestId">Request that computed the blocks; 0 when unknown. Eviction groups by it.</param>
/// <param name="SuffixTokens">Tokens that the request appended behind what was cached; 0 when unknown. The best predictor of reuse.</param>
public sealed record StoreOptions(TimeSpan? TimeToLive = null, ulong RequestId = 0, int SuffixTokens = 0);
