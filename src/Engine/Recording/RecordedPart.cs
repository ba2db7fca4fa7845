using System.Buffers;

namespace KvCache.Engine.Recording;

/// <summary>What a store tells a recording: a part of a request's chain, or what is known of the request afterwards.</summary>
internal readonly struct RecordedPart
{
    private readonly ulong[]? _chain;
    private readonly int _blocks;

    /// <summary>Copies the part: the store goes on with its own.</summary>
    /// <param name="request">Number of the request.</param>
    /// <param name="now">Time, in milliseconds of the store's clock.</param>
    /// <param name="before">Fingerprint of the block before the part; 0 when there is none, or it is not known.</param>
    /// <param name="chain">Fingerprints of its blocks.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="hint">What is known of the request.</param>
    public RecordedPart(long request, long now, ulong before, ReadOnlySpan<ulong> chain, int tokensPerBlock, CacheHint? hint)
    {
        (Request, Now, Before, TokensPerBlock, Hint) = (request, now, before, tokensPerBlock, hint);
        _blocks = chain.Length;
        _chain = chain.IsEmpty ? null : ArrayPool<ulong>.Shared.Rent(chain.Length);
        chain.CopyTo(_chain);
    }

    public long Request { get; }

    public long Now { get; }

    public ulong Before { get; }

    public int TokensPerBlock { get; }

    public CacheHint? Hint { get; }

    public ReadOnlySpan<ulong> Chain => _chain.AsSpan(0, _blocks);

    /// <summary>Gives the memory of the chain back.</summary>
    public void Return()
    {
        if (_chain is not null)
            ArrayPool<ulong>.Shared.Return(_chain);
    }
}
