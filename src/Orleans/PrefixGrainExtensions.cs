using KvCache.Checksums;
using Orleans.Concurrency;

namespace KvCache.Orleans;

/// <summary>Prefix grains by prefix, and whole blocks through a grain alone.</summary>
public static class PrefixGrainExtensions
{
    private const int PieceBytes = 64 * 1024;

    /// <summary>The grain of a block.</summary>
    public static IPrefixGrain GetPrefix(this IGrainFactory factory, BlockKey key) => factory.GetGrain<IPrefixGrain>(key.ToGrainKey());

    /// <summary>The grain of the block that ends with the last full block of a token sequence.</summary>
    /// <param name="factory">An Orleans client or a silo's grain factory.</param>
    /// <param name="ns">Namespace of the tokens.</param>
    /// <param name="tokens">At least one full block.</param>
    /// <exception cref="ArgumentException">The sequence is shorter than one block.</exception>
    public static IPrefixGrain GetPrefix(this IGrainFactory factory, CacheNamespace ns, ReadOnlySpan<int> tokens)
    {
        var chain = PrefixHasher.HashTokens(tokens, ns.Layout.TokensPerBlock);
        if (chain.BlockCount == 0)
            throw new ArgumentException(
                $"A prefix has at least one block of {ns.Layout.TokensPerBlock} tokens, got {tokens.Length}.", nameof(tokens));
        return factory.GetPrefix(new BlockKey(ns.Id, chain.Hashes[^1]));
    }

    /// <summary>Stores a whole block through the grain alone. For small blocks; the data plane is for the rest.</summary>
    /// <param name="grain">Grain of the block.</param>
    /// <param name="ns">Namespace of the block.</param>
    /// <param name="block">The bytes, <see cref="KvLayout.BlockBytes"/> long.</param>
    /// <param name="timeToLive">Life of the block; null for as long as memory lasts.</param>
    /// <param name="cancellationToken">Cancels the store; the write is abandoned.</param>
    /// <returns>Whether the block is stored now, by this call or before.</returns>
    /// <exception cref="ArgumentException">The size does not fit the layout.</exception>
    public static async ValueTask<bool> StoreAsync(
        this IPrefixGrain grain, CacheNamespace ns, ReadOnlyMemory<byte> block, TimeSpan? timeToLive = null,
        CancellationToken cancellationToken = default)
    {
        if (block.Length != ns.Layout.BlockBytes)
            throw new ArgumentException($"A block of this namespace has {ns.Layout.BlockBytes} bytes, got {block.Length}.", nameof(block));
        var grant = await grain.BeginAsync(
            new WriteIntent { Namespace = ns.Encoded.ToArray(), TimeToLive = timeToLive }, cancellationToken);
        if (grant.Outcome != BeginOutcome.Accepted)
            return grant.Outcome == BeginOutcome.AlreadyStored;
        try
        {
            for (var offset = 0; offset < block.Length; offset += PieceBytes)
            {
                var piece = block.Slice(offset, Math.Min(PieceBytes, block.Length - offset)).ToArray();
                if (!await grain.WriteAsync(grant.Generation, offset, new Immutable<byte[]>(piece), cancellationToken))
                    return false;
            }

            return await grain.SealAsync(grant.Generation, cancellationToken) is SealOutcome.Sealed or SealOutcome.AlreadyStored;
        }
        catch
        {
            await grain.AbandonAsync(grant.Generation, CancellationToken.None);
            throw;
        }
    }

    /// <summary>Reads a run of layers through the grain alone.</summary>
    /// <param name="grain">Grain of the block.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <returns>The bytes; null when the block is not stored, its bytes are damaged, or the run is too large for grain calls.</returns>
    public static async ValueTask<byte[]?> LoadAsync(
        this IPrefixGrain grain, LayerRange range, CancellationToken cancellationToken = default)
    {
        if (await grain.ReadLayersAsync(range.First, range.Count, cancellationToken) is not { Inline: { } bytes } reading)
            return null;
        var offset = 0;
        for (var layer = 0; layer < reading.LayerBytes.Length; layer++)
        {
            if (BlockChecksum.Compute(bytes.AsSpan(offset, reading.LayerBytes[layer])) != reading.Checksums[layer])
                return null;
            offset += reading.LayerBytes[layer];
        }

        return bytes;
    }
}
