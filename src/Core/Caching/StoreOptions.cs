namespace KvCache;

/// <summary>Where a stored block is to survive.</summary>
public enum Durability
{
    /// <summary>In the memory of silos. The default.</summary>
    Memory,

    /// <summary>In Redis too, written behind: soon after the store has returned. A silo without Redis keeps it in memory only.</summary>
    Persisted,
}

/// <summary>What a store says about its blocks.</summary>
/// <param name="TimeToLive">Life of the blocks, more than zero; null for as long as memory lasts. Rounded up to milliseconds.</param>
/// <param name="RequestId">Request that computed the blocks; 0 when unknown. Eviction groups by it.</param>
/// <param name="SuffixTokens">Tokens that the request appended behind what was cached; 0 when unknown. The best predictor of reuse.</param>
/// <param name="Durability">Where the blocks are to survive.</param>
/// <param name="Replicas">Silos that are to hold the blocks, 1 to <see cref="MaxReplicas"/>; further copies are made behind the store,
/// and again after a loss.</param>
/// <param name="RefreshLife">Whether blocks that are stored already get this <paramref name="TimeToLive"/> too, from now on. Without a
/// <paramref name="TimeToLive"/> their lives stay as they are.</param>
public sealed record StoreOptions(
    TimeSpan? TimeToLive = null,
    ulong RequestId = 0,
    int SuffixTokens = 0,
    Durability Durability = Durability.Memory,
    int Replicas = 1,
    bool RefreshLife = true)
{
    /// <summary>Most silos that can be asked to hold a block.</summary>
    public const int MaxReplicas = 16;
}
