using System.Text;
using KvCache.Client;

namespace KvCache.WebApp;

/// <summary>What an inference server does with a prompt, with bytes for tokens and a hash for a model.</summary>
/// <param name="cache">Where the K/V of prompts is.</param>
internal sealed class PromptService(IKvCache cache)
{
    private static readonly TimeSpan Hold = TimeSpan.FromSeconds(5);

    private static readonly CacheNamespace Namespace = new()
    {
        Tenant = "default",
        Model = "web-app-sample",
        Layout = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 16, KvDataType.Float16, tokensPerBlock: 16),
    };

    /// <summary>Loads the K/V of a prompt's beginning, computes the rest, and stores that.</summary>
    public async Task<PromptAnswer> PrefillAsync(string prompt, CancellationToken cancellationToken)
    {
        int[] tokens = [.. Encoding.UTF8.GetBytes(prompt)];
        var prefix = KvPrefix.Of(Namespace, tokens);
        var blocks = new byte[prefix.BlockCount][];
        for (var i = 0; i < blocks.Length; i++)
            blocks[i] = new byte[Namespace.Layout.BlockBytes];

        await using var match = await cache.MatchAsync(prefix, Hold, cancellationToken);
        var loaded = await cache.LoadAsync(
            prefix, 0, Array.ConvertAll(blocks[..match.Blocks], block => block.AsMemory()), match: match,
            cancellationToken: cancellationToken);
        for (var i = loaded.Blocks; i < blocks.Length; i++)
            Compute(prefix.Chain.Hashes[i], blocks[i]);
        var stored = await cache.StoreAsync(
            prefix, loaded.Blocks, Array.ConvertAll(blocks[loaded.Blocks..], block => (ReadOnlyMemory<byte>)block),
            new StoreOptions(TimeToLive: TimeSpan.FromHours(1)), cancellationToken);

        // A cache that fails costs time, and the answer is the same.
        return new PromptAnswer(
            tokens.Length, loaded.Blocks * Namespace.Layout.TokensPerBlock, stored.Stored, match.Error ?? loaded.Error ?? stored.Error);
    }

    private static void Compute(BlockHash hash, byte[] block)
    {
        Span<byte> seed = stackalloc byte[BlockHash.Size];
        hash.CopyTo(seed);
        for (var i = 0; i < block.Length; i++)
            block[i] = (byte)(seed[i % seed.Length] + i);
    }
}

/// <summary>What became of a prompt.</summary>
/// <param name="Tokens">Its tokens.</param>
/// <param name="CachedTokens">Those whose K/V was loaded.</param>
/// <param name="StoredBlocks">Blocks that were computed and stored.</param>
/// <param name="CacheError">What was wrong with the cache; null when nothing was.</param>
internal sealed record PromptAnswer(int Tokens, int CachedTokens, int StoredBlocks, string? CacheError);
