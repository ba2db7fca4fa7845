namespace KvCache;

/// <summary>
/// The full blocks of one token sequence, hashed once and then used for match, load and store.
/// A partial last block is not cached: in public traces 1 % of them are ever hit again.
/// </summary>
public sealed class PrefixChain
{
    private readonly BlockHash[] _hashes;
    private readonly int[]? _tail; // of the partial last block; null where the tokens are not known

    private PrefixChain(BlockHash[] hashes, int tokensPerBlock, int tokenCount, int[]? tail)
    {
        _hashes = hashes;
        _tail = tail;
        TokensPerBlock = tokensPerBlock;
        TokenCount = tokenCount;
    }

    internal PrefixChain(BlockHash[] hashes, int tokensPerBlock, ReadOnlySpan<int> tokens)
        : this(hashes, tokensPerBlock, tokens.Length, tokens[(hashes.Length * tokensPerBlock)..].ToArray())
    {
    }

    /// <summary>Hash of every full block, first block first.</summary>
    public ReadOnlySpan<BlockHash> Hashes => _hashes;

    /// <summary>Hash of every full block, for asynchronous code.</summary>
    public ReadOnlyMemory<BlockHash> HashMemory => _hashes;

    /// <summary>Number of full blocks.</summary>
    public int BlockCount => _hashes.Length;

    /// <summary>Tokens of one block.</summary>
    public int TokensPerBlock { get; }

    /// <summary>Tokens of the whole sequence, including those of the partial last block.</summary>
    public int TokenCount { get; }

    /// <summary>Wraps hashes that an engine computed itself (see <see cref="PrefixHasher.HashEngineKey"/>).</summary>
    /// <param name="hashes">One hash a block, first block first.</param>
    /// <param name="tokensPerBlock">Tokens of one block, at least 1; those of all blocks are counted in 31 bits.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tokensPerBlock"/> is less than 1, or too many.</exception>
    public static PrefixChain FromHashes(ReadOnlySpan<BlockHash> hashes, int tokensPerBlock)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokensPerBlock, int.MaxValue / Math.Max(1, hashes.Length));
        return new PrefixChain(hashes.ToArray(), tokensPerBlock, hashes.Length * tokensPerBlock, tail: null);
    }

    /// <summary>The chain of this sequence and what follows it: the next turn of a conversation hashes only what is new.</summary>
    /// <param name="tokens">Token ids that follow.</param>
    /// <returns>A new chain, the same as <see cref="PrefixHasher.HashTokens(ReadOnlySpan{int}, int)"/> gives for the whole sequence; this
    /// one stays as it is.</returns>
    /// <exception cref="InvalidOperationException">The chain was made of an engine's hashes (<see cref="FromHashes"/>).</exception>
    public PrefixChain Append(ReadOnlySpan<int> tokens)
    {
        if (_tail is null)
            throw new InvalidOperationException(
                "This chain was made of an engine's own hashes, whose tokens are not known; the engine has to hash what follows.");
        if (tokens.IsEmpty)
            return this;
        var open = new int[_tail.Length + tokens.Length];
        _tail.CopyTo(open, 0);
        tokens.CopyTo(open.AsSpan(_tail.Length));
        var hashes = new BlockHash[_hashes.Length + (open.Length / TokensPerBlock)];
        _hashes.CopyTo(hashes, 0);
        var added = hashes.AsSpan(_hashes.Length);
        PrefixHasher.HashTokens(_hashes is [.., var last] ? last : PrefixHasher.TokenRoot, open, TokensPerBlock, added);
        return new PrefixChain(
            hashes, TokensPerBlock, checked(TokenCount + tokens.Length), open[(added.Length * TokensPerBlock)..]);
    }
}
