namespace KvCache.Caching;

/// <summary>Settings of a <see cref="KvDistributedCache"/>.</summary>
public sealed class KvDistributedCacheOptions
{
    /// <summary>Name of the cache: programs of one tenant share the entries of caches with equal names. Default
    /// <c>distributed-cache</c>.</summary>
    public string Name { get; set; } = "distributed-cache";

    /// <summary>Key of the client in the services, for programs with several; null, the default, for the one without a key.</summary>
    public string? Client { get; set; }

    /// <summary>Life of entries that are stored without an expiration, more than zero; null, the default, for as long as memory lasts.
    /// </summary>
    public TimeSpan? DefaultLife { get; set; }

    /// <summary>Where entries are to survive. Default in the memory of silos.</summary>
    public Durability Durability { get; set; }

    /// <summary>Silos that are to hold an entry, 1 to <see cref="StoreOptions.MaxReplicas"/>. Default 1.</summary>
    public int Replicas { get; set; } = 1;

    /// <summary>Whether an entry that could not be stored or refreshed is an <see cref="IOException"/>. Default false: then nothing is
    /// told, and an older entry may be found until its life ends.</summary>
    public bool ThrowOnFailure { get; set; }

    /// <summary>What is wrong with the settings: a sentence each that says what was expected; empty when nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var failures = new List<string>();
        if (string.IsNullOrEmpty(Name))
            failures.Add("Name is empty; the name of a cache was expected.");
        else if (CacheNamespace.FindTextProblem(nameof(Name), Name) is { } text)
            failures.Add(text);
        if (DefaultLife <= TimeSpan.Zero)
            failures.Add($"DefaultLife is {DefaultLife}; more than zero was expected, or null for as long as memory lasts.");
        if (!Enum.IsDefined(Durability))
            failures.Add($"Durability is {Durability}; {string.Join(" or ", Enum.GetNames<Durability>())} was expected.");
        if (Replicas is < 1 or > StoreOptions.MaxReplicas)
            failures.Add($"Replicas is {Replicas}; 1 to {StoreOptions.MaxReplicas} was expected.");
        return failures;
    }
}
