namespace KvCache.Engine.Index;

/// <summary>Bounds of a <see cref="PrefixIndex"/>. What this silo has itself is always in it, and counts against neither.</summary>
internal sealed class PrefixIndexOptions
{
    /// <summary>
    /// Most blocks of other silos that the index knows. Past it new ones are refused and counted: they are not found through the index, and
    /// nothing else suffers. A block costs 80 to 121 bytes. Default 4,194,304, which is at most 484 MiB.
    /// </summary>
    public int MaxEntries { get; set; } = 4 * 1024 * 1024;

    /// <summary>
    /// Most blocks that only Redis has and the index knows. Past it a new one takes the place of one that was not confirmed lately, which
    /// is counted. Default 2,097,152, which is at most 242 MiB.
    /// </summary>
    public int MaxRedisEntries { get; set; } = 2 * 1024 * 1024;

    /// <summary>
    /// A tenant's part of each bound, 0 to 1, together at most 1. It is lent while it is not used; past a bound the entries of those go who
    /// have more than their part. Default null: nobody has one.
    /// </summary>
    public Func<TenantId, double>? PartOf { get; set; }
}
