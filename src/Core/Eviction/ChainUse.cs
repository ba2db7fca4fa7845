namespace KvCache.Eviction;

/// <summary>What is known of a request when it uses the blocks of its chain.</summary>
internal struct ChainUse
{
    /// <summary>The request: blocks that one request touches are told apart from those of another by it. Greater than 0.</summary>
    public long Request;

    /// <summary>Time, in milliseconds of the caller's clock. Never goes back.</summary>
    public long Now;

    /// <summary>Tokens of the prompt.</summary>
    public int Tokens;

    /// <summary>Tokens of a full block.</summary>
    public int TokensPerBlock;

    /// <summary>
    /// A number that the store gives a tenant, from 0: what is learned of one is its own, as soon as there is enough of it.
    /// </summary>
    public int Tenant;

    /// <summary>How the answer ended, if it is known already.</summary>
    public AnswerEnd End;

    /// <summary>What its client asks of its blocks, beyond what is learned of them.</summary>
    public KeepTerms Keep;

    /// <summary>
    /// Tokens behind the last block that was known, resident or remembered. Set by <see cref="IEvictionPolicy.Look"/>. Negative in a
    /// <see cref="IEvictionPolicy.Tell"/> that knows nothing of it.
    /// </summary>
    public int SuffixTokens;

    /// <summary>
    /// Milliseconds since the last known block was touched; negative when there is none. Set by <see cref="IEvictionPolicy.Look"/>.
    /// </summary>
    public long Gap;

    /// <summary>Requests that appended to the chain, this one included, if it appends. Set by <see cref="IEvictionPolicy.Look"/>.</summary>
    public byte Level;
}

/// <summary>A block that is not resident.</summary>
/// <param name="Fingerprint">A hash of its key, not 0.</param>
/// <param name="Parent">Slot of the block before it, or -1 for the first of a chain.</param>
/// <param name="Partial">Whether it has fewer tokens than a block has: it is almost never used again.</param>
internal readonly record struct ArrivingBlock(ulong Fingerprint, int Parent, bool Partial);
