namespace KvCache;

/// <summary>
/// The full blocks of one token sequence, hashed once and then used for match, load and store.
/// A partial last block is not cached: in public traces 1 % of them are ever hit again.
/// </summary>
public sealed class PrefixChain
{
    private readonly BlockHash[] _hashes;

    internal PrefixChain(BlockHash[] hashes, int tokensPerBlock, int tokenCount)
    {
        _hashes = hashes;
        TokensPerBlock = tokensPerBlock;
        TokenCount = tokenCount;
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
    /// <param name="tokensPerBlock">Tokens of one block, at least 1.</param>
    public static PrefixChain FromHashes(ReadOnlySpan<BlockHash> hashes, int tokensPerBlock)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        return new PrefixChain(hashes.ToArray(), tokensPerBlock, checked(hashes.Length * tokensPerBlock));
    }
}
