using System.Buffers.Binary;
using System.Security.Cryptography;

namespace KvCache;

/// <summary>
/// SGLang's keys of HiCache pages (srt/mem_cache/hicache_storage.py): <c>SHA256(hash of the page before ‖ tokens as u32 little-endian)</c>,
/// where the first page has nothing before it. The engine writes them as 64 lower-case hexadecimal digits, which is what <see
/// cref="BlockHash.ToString"/> gives.
/// </summary>
/// <remarks>
/// The results are keys of the engine's own, not block hashes of this cache. They name neither model nor, in older versions, adapter and
/// salt: all of these have to be in the namespace.
/// </remarks>
public static class SglangPageHasher
{
    /// <summary>Hash of a page.</summary>
    /// <param name="parent">Hash of the page before; null for the first page.</param>
    /// <param name="tokens">Token ids of the page.</param>
    public static BlockHash HashPage(BlockHash? parent, ReadOnlySpan<int> tokens)
    {
        Span<byte> bytes = stackalloc byte[BlockHash.Size];
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        if (parent is { } before)
        {
            before.CopyTo(bytes);
            sha.AppendData(bytes);
        }

        foreach (var token in tokens)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes, token);
            sha.AppendData(bytes[..sizeof(int)]);
        }

        sha.GetHashAndReset(bytes);
        return new BlockHash(bytes);
    }

    /// <summary>Hashes the full pages of a token sequence.</summary>
    /// <param name="tokens">Token ids.</param>
    /// <param name="tokensPerPage">Tokens of one page, at least 1.</param>
    /// <returns>One hash a page; empty when the sequence is shorter than one page.</returns>
    public static BlockHash[] HashTokens(ReadOnlySpan<int> tokens, int tokensPerPage)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerPage, 1);
        var hashes = new BlockHash[tokens.Length / tokensPerPage];
        for (var i = 0; i < hashes.Length; i++)
            hashes[i] = HashPage(i == 0 ? null : hashes[i - 1], tokens.Slice(i * tokensPerPage, tokensPerPage));
        return hashes;
    }
}
