namespace KvCache;

/// <summary>A prompt's prefix inside a namespace: what is matched, loaded and stored.</summary>
/// <param name="Namespace">Namespace of the blocks.</param>
/// <param name="Chain">Hashes of the full blocks.</param>
public sealed record KvPrefix(CacheNamespace Namespace, PrefixChain Chain)
{
    /// <summary>What else decides which KV it is.</summary>
    public CacheNamespace Namespace
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = Namespace ?? throw new ArgumentNullException(nameof(Namespace));

    /// <summary>The full blocks of the prompt.</summary>
    public PrefixChain Chain
    {
        get;
        init => field = value ?? throw new ArgumentNullException(nameof(value));
    } = Chain ?? throw new ArgumentNullException(nameof(Chain));

    /// <summary>What is known of when it is used again, which every call with this prefix passes on; null for nothing.</summary>
    public CacheHint? Hint { get; init; }

    /// <summary>Number of full blocks.</summary>
    public int BlockCount => Chain.BlockCount;

    /// <summary>Hashes the full blocks of a token sequence.</summary>
    /// <param name="ns">Namespace; its layout says how many tokens a block has.</param>
    /// <param name="tokens">Token ids.</param>
    public static KvPrefix Of(CacheNamespace ns, ReadOnlySpan<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(ns);
        return new(ns, PrefixHasher.HashTokens(tokens, ns.Layout.TokensPerBlock));
    }

    /// <summary>The prefix of this prompt and what follows it, which alone is hashed.</summary>
    /// <param name="tokens">Token ids that follow.</param>
    /// <exception cref="InvalidOperationException">The hashes are an engine's own.</exception>
    public KvPrefix Append(ReadOnlySpan<int> tokens) => this with { Chain = Chain.Append(tokens) };

    /// <summary>The same prefix on another tensor-parallel rank; the hashes are shared.</summary>
    public KvPrefix OnRank(int rank) => this with { Namespace = Namespace with { TensorParallelRank = rank } };
}
