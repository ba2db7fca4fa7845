using System.Buffers;
using System.Security.Cryptography;
using KvCache.Hashing.Engines;

namespace KvCache;

/// <summary>
/// vLLM's block hashes of the algorithm <c>sha256_cbor</c> (vllm/v1/core/kv_cache_utils.py): SHA-256 over the canonical CBOR of
/// <c>(hash of the block before, (tokens…), extra keys or null)</c>. Only this one and <c>xxhash_cbor</c> can be computed outside of
/// Python;
/// <c>sha256</c> hashes a pickle.
/// </summary>
/// <remarks>
/// The results are keys of the engine's own, not block hashes of this cache: <see cref="PrefixHasher.HashEngineKey"/> turns their 32 bytes,
/// and the number of the KV cache group, into one. They name neither model nor adapter revision; the namespace does.
/// </remarks>
public static class VllmBlockHasher
{
    /// <summary>Tokens of a block, unless the engine was told otherwise.</summary>
    public const int DefaultTokensPerBlock = 16;

    /// <summary>
    /// Start of every chain (NONE_HASH). An engine without PYTHONHASHSEED takes 32 random bytes, and its hashes mean nothing to anybody
    /// else.
    /// </summary>
    /// <param name="pythonHashSeed">The engine's environment variable PYTHONHASHSEED, as it was written.</param>
    public static BlockHash Root(string pythonHashSeed)
    {
        ArgumentNullException.ThrowIfNull(pythonHashSeed);
        var writer = new ArrayBufferWriter<byte>(64);
        CanonicalCbor.Text(writer, pythonHashSeed);
        return Hash(writer);
    }

    /// <summary>Hash of the block that follows <paramref name="parent"/>.</summary>
    /// <param name="parent">Hash of the block before, or <see cref="Root"/>.</param>
    /// <param name="tokens">Token ids of the block.</param>
    /// <param name="extraKeys">The block's extra keys; null or empty for none.</param>
    public static BlockHash HashBlock(BlockHash parent, ReadOnlySpan<int> tokens, IReadOnlyList<EngineExtraKey>? extraKeys = null) =>
        HashBlock(parent, tokens, extraKeys, new ArrayBufferWriter<byte>(64 + (tokens.Length * 5)));

    /// <summary>Hashes the full blocks of a token sequence.</summary>
    /// <param name="root">Start of the chain.</param>
    /// <param name="tokens">Token ids.</param>
    /// <param name="tokensPerBlock">Tokens of one block, at least 1.</param>
    /// <param name="extraKeysOf">Extra keys of a block, by its index; null for none in any block.</param>
    /// <returns>One hash a block; empty when the sequence is shorter than one block.</returns>
    public static BlockHash[] HashTokens(
        BlockHash root, ReadOnlySpan<int> tokens, int tokensPerBlock = DefaultTokensPerBlock,
        Func<int, IReadOnlyList<EngineExtraKey>?>? extraKeysOf = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        var hashes = new BlockHash[tokens.Length / tokensPerBlock];
        var writer = new ArrayBufferWriter<byte>(64 + (tokensPerBlock * 5));
        var parent = root;
        for (var i = 0; i < hashes.Length; i++)
        {
            writer.ResetWrittenCount();
            hashes[i] = parent = HashBlock(parent, tokens.Slice(i * tokensPerBlock, tokensPerBlock), extraKeysOf?.Invoke(i), writer);
        }

        return hashes;
    }

    private static BlockHash HashBlock(
        BlockHash parent, ReadOnlySpan<int> tokens, IReadOnlyList<EngineExtraKey>? extraKeys, ArrayBufferWriter<byte> writer)
    {
        CanonicalCbor.Array(writer, 3);
        CanonicalCbor.Bytes(writer, BlockHash.BytesOf(in parent));
        CanonicalCbor.Array(writer, tokens.Length);
        foreach (var token in tokens)
            CanonicalCbor.Integer(writer, token);
        if (extraKeys is not { Count: > 0 })
        {
            CanonicalCbor.Null(writer);
            return Hash(writer);
        }

        CanonicalCbor.Array(writer, extraKeys.Count);
        foreach (var key in extraKeys)
            key.WriteTo(writer);
        return Hash(writer);
    }

    private static BlockHash Hash(ArrayBufferWriter<byte> writer)
    {
        Span<byte> hash = stackalloc byte[BlockHash.Size];
        SHA256.HashData(writer.WrittenSpan, hash);
        return new BlockHash(hash);
    }
}
