namespace KvCache.Eviction;

/// <summary>The policies by name.</summary>
internal static class EvictionPolicies
{
    /// <summary>Name of the one that a store has unless another is chosen.</summary>
    public const string Default = "default";

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> Names { get; } = ["lru", "lru/t", "s3fifo/t", "arc/t", Default];

    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="slots">Slots of the store.</param>
    /// <exception cref="ArgumentException">There is no such policy.</exception>
    public static IEvictionPolicy Create(string name, int slots) => name switch
    {
        "lru" => new LruPolicy(slots, tailFirst: false),
        "lru/t" => new LruPolicy(slots),
        "s3fifo/t" => new S3FifoPolicy(slots),
        "arc/t" => new ArcPolicy(slots),
        Default => new LearnedPolicy(slots),
        _ => throw new ArgumentException($"There is no eviction policy '{name}'; there are {string.Join(", ", Names)}.", nameof(name)),
    };
}
