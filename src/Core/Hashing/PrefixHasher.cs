using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Unicode;

namespace KvCache;

/// <summary>
/// Names prefixes. A block's hash is a link of a SHA-256 chain (FIPS 180-4), so that it names the whole prefix that ends with it:
/// <c>h₀ = SHA256("kvcache.prefix.v1")</c>, <c>hᵢ = SHA256(hᵢ₋₁ ‖ tokens of block i as u32 little-endian)</c>.
/// Model, tenant and layout are not hashed in: they are the namespace, and the ranks of one prompt share their hashes.
/// Vectors are in docs/hashing.md.
/// </summary>
public static class PrefixHasher
{
    /// <summary>Longest engine key, in bytes.</summary>
    public const int MaxEngineKeyBytes = 256;

    private const int StackTokens = 256;
    private const int StackBytes = 512;

    /// <summary>Start of every token chain.</summary>
    public static BlockHash TokenRoot { get; } = new(SHA256.HashData("kvcache.prefix.v1"u8));

    /// <summary>Hash of the block that follows <paramref name="parent"/>.</summary>
    /// <param name="parent">Hash of the block before, or <see cref="TokenRoot"/>.</param>
    /// <param name="tokens">Token ids of the block.</param>
    public static BlockHash HashBlock(BlockHash parent, ReadOnlySpan<int> tokens)
    {
        var length = BlockHash.Size + (tokens.Length * sizeof(int));
        var rented = tokens.Length > StackTokens ? ArrayPool<byte>.Shared.Rent(length) : null;
        var buffer = rented is null ? stackalloc byte[BlockHash.Size + (StackTokens * sizeof(int))] : rented;
        var hash = HashBlock(parent, tokens, buffer[..length]);
        if (rented is not null)
            ArrayPool<byte>.Shared.Return(rented);
        return hash;
    }

    /// <summary>Hashes the full blocks of a token sequence.</summary>
    /// <param name="tokens">Token ids; values are hashed as unsigned 32-bit integers.</param>
    /// <param name="tokensPerBlock">Tokens of one block, at least 1.</param>
    /// <returns>The chain; empty when the sequence is shorter than one block.</returns>
    public static PrefixChain HashTokens(ReadOnlySpan<int> tokens, int tokensPerBlock)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        var hashes = new BlockHash[tokens.Length / tokensPerBlock];
        HashTokens(tokens, tokensPerBlock, hashes);
        return new PrefixChain(hashes, tokensPerBlock, tokens);
    }

    /// <summary>Hashes as many full blocks as <paramref name="hashes"/> holds, without allocating.</summary>
    /// <param name="tokens">Token ids.</param>
    /// <param name="tokensPerBlock">Tokens of one block, at least 1.</param>
    /// <param name="hashes">Receives one hash a block; not longer than <c>tokens.Length / tokensPerBlock</c>.</param>
    /// <exception cref="ArgumentException">More hashes were asked for than there are full blocks.</exception>
    public static void HashTokens(ReadOnlySpan<int> tokens, int tokensPerBlock, Span<BlockHash> hashes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokensPerBlock, 1);
        if (hashes.Length > tokens.Length / tokensPerBlock)
            throw new ArgumentException(
                $"{tokens.Length} tokens have {tokens.Length / tokensPerBlock} full blocks of {tokensPerBlock}; {hashes.Length} hashes "
                + "were asked for.", nameof(hashes));
        HashTokens(TokenRoot, tokens, tokensPerBlock, hashes);
    }

    /// <summary>Hashes the blocks that follow another one.</summary>
    internal static void HashTokens(BlockHash parent, ReadOnlySpan<int> tokens, int tokensPerBlock, Span<BlockHash> hashes)
    {
        if (hashes.IsEmpty)
            return;
        var length = BlockHash.Size + (tokensPerBlock * sizeof(int));
        var rented = ArrayPool<byte>.Shared.Rent(length);
        var buffer = rented.AsSpan(0, length);
        for (var i = 0; i < hashes.Length; i++)
            hashes[i] = parent = HashBlock(parent, tokens.Slice(i * tokensPerBlock, tokensPerBlock), buffer);
        ArrayPool<byte>.Shared.Return(rented);
    }

    /// <summary>
    /// Hash of a text prefix and one of its parts:
    /// <c>SHA256("kvcache.text.v1" ‖ u32 part ‖ UTF-8)</c>. The simple calls store each (text, layer) as its own block.
    /// </summary>
    /// <param name="text">The prefix.</param>
    /// <param name="part">Part of the text's KV, for example a layer; at least 0.</param>
    /// <exception cref="ArgumentException">The text is not well-formed UTF-16, so that it has no UTF-8 of its own.</exception>
    public static BlockHash HashText(ReadOnlySpan<char> text, int part = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(part);
        var utf8 = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(text.Length));
        try
        {
            // A replacement character would stand for any half of a surrogate pair, and two texts would have one name.
            if (Utf8.FromUtf16(text, utf8, out var read, out var length, replaceInvalidSequences: false) != OperationStatus.Done)
                throw new ArgumentException(
                    $"The text is not well-formed UTF-16: it has half of a surrogate pair at index {read}.", nameof(text));
            return HashTagged("kvcache.text.v1"u8, (uint)part, utf8.AsSpan(0, length));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(utf8);
        }
    }

    /// <summary>
    /// Hash of a key that an engine computed itself: <c>SHA256("kvcache.engine.v1" ‖ u32 group ‖ key)</c>.
    /// </summary>
    /// <param name="key">The engine's key, 1 to <see cref="MaxEngineKeyBytes"/> bytes.</param>
    /// <param name="group">KV cache group of the engine (hybrid models have several), from 0.</param>
    /// <exception cref="ArgumentException">The key is empty or too long.</exception>
    public static BlockHash HashEngineKey(ReadOnlySpan<byte> key, int group = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(group);
        if (key.Length is 0 or > MaxEngineKeyBytes)
            throw new ArgumentException($"An engine key has 1 to {MaxEngineKeyBytes} bytes, got {key.Length}.", nameof(key));
        return HashTagged("kvcache.engine.v1"u8, (uint)group, key);
    }

    private static BlockHash HashTagged(ReadOnlySpan<byte> tag, uint number, ReadOnlySpan<byte> value)
    {
        var length = tag.Length + sizeof(uint) + value.Length;
        var rented = length > StackBytes ? ArrayPool<byte>.Shared.Rent(length) : null;
        var buffer = rented is null ? stackalloc byte[StackBytes] : rented;
        tag.CopyTo(buffer);
        BinaryPrimitives.WriteUInt32LittleEndian(buffer[tag.Length..], number);
        value.CopyTo(buffer[(tag.Length + sizeof(uint))..]);
        Span<byte> result = stackalloc byte[BlockHash.Size];
        SHA256.HashData(buffer[..length], result);
        if (rented is not null)
            ArrayPool<byte>.Shared.Return(rented);
        return new BlockHash(result);
    }

    private static BlockHash HashBlock(BlockHash parent, ReadOnlySpan<int> tokens, Span<byte> buffer)
    {
        parent.CopyTo(buffer);
        var words = buffer[BlockHash.Size..];
        if (BitConverter.IsLittleEndian)
            MemoryMarshal.AsBytes(tokens).CopyTo(words);
        else
            BinaryPrimitives.ReverseEndianness(tokens, MemoryMarshal.Cast<byte, int>(words));
        Span<byte> result = stackalloc byte[BlockHash.Size];
        SHA256.HashData(buffer, result);
        return new BlockHash(result);
    }
}
