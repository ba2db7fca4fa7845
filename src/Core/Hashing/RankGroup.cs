namespace KvCache;

/// <summary>
/// The namespaces of a model whose ranks compute one prompt together, each its own blocks: a prefix is usable as far as every one of
/// them has it. Make it once, and match many prompts with it; load and store go by rank (<see cref="PrefixOf"/>).
/// </summary>
public sealed class RankGroup
{
    /// <summary>Most ranks of a group: the namespaces that one match may name.</summary>
    public const int MaxRanks = 1024;

    private readonly CacheNamespace[] _namespaces;

    /// <summary>Creates a group of namespaces.</summary>
    /// <param name="namespaces">One a rank, 1 to <see cref="MaxRanks"/>, with blocks of equally many tokens.</param>
    /// <exception cref="ArgumentException">There are none, too many, equal ones, or their blocks do not cover the same tokens.</exception>
    public RankGroup(params IEnumerable<CacheNamespace> namespaces)
    {
        ArgumentNullException.ThrowIfNull(namespaces);
        _namespaces = [.. namespaces];
        if (_namespaces.Contains(null))
            throw new ArgumentException("A namespace of the group is null; one a rank was expected.", nameof(namespaces));
        if (_namespaces.Length is 0 or > MaxRanks)
            throw new ArgumentException($"The group has {_namespaces.Length} ranks; 1 to {MaxRanks} were expected.", nameof(namespaces));
        if (_namespaces.DistinctBy(ns => ns.Id).Count() != _namespaces.Length)
            throw new ArgumentException(
                "Two ranks of the group have the same namespace; each rank stores blocks of its own.", nameof(namespaces));
        foreach (var ns in _namespaces)
        {
            if (ns.Layout.TokensPerBlock != _namespaces[0].Layout.TokensPerBlock)
                throw new ArgumentException(
                    $"Blocks of {ns.Layout.TokensPerBlock} and of {_namespaces[0].Layout.TokensPerBlock} tokens do not belong to the same "
                    + "chain.", nameof(namespaces));
        }
    }

    /// <summary>Number of ranks.</summary>
    public int Count => _namespaces.Length;

    /// <summary>Namespace of each rank.</summary>
    public ReadOnlySpan<CacheNamespace> Namespaces => _namespaces;

    /// <summary>All tensor-parallel ranks of a namespace, from 0 to <see cref="CacheNamespace.TensorParallelSize"/>.</summary>
    /// <param name="ns">The namespace of any rank.</param>
    /// <exception cref="ArgumentException">A field of the namespace is out of its bounds, or there are more than <see cref="MaxRanks"/>
    /// ranks.</exception>
    public static RankGroup AllOf(CacheNamespace ns)
    {
        ArgumentNullException.ThrowIfNull(ns);
        if (ns.TensorParallelSize is < 1 or > MaxRanks)
            throw new ArgumentException(
                $"The model has {ns.TensorParallelSize} tensor-parallel ranks; 1 to {MaxRanks} were expected.", nameof(ns));
        return new(Enumerable.Range(0, ns.TensorParallelSize)
            .Select(rank => rank == ns.TensorParallelRank ? ns : ns with { TensorParallelRank = rank }));
    }

    /// <summary>A prompt on one rank: what that rank loads and stores.</summary>
    /// <param name="index">Index of the rank in this group.</param>
    /// <param name="chain">The prompt.</param>
    /// <exception cref="ArgumentOutOfRangeException">The group has no such rank.</exception>
    public KvPrefix PrefixOf(int index, PrefixChain chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return new(_namespaces[index], chain);
    }
}
