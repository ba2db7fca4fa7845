using KvCache.Client;
using KvCache.TorchSharp;

namespace KvCache.InferenceNode.Models;

/// <summary>
/// Takes the ways of the code once before anything is timed. What runs first in a .NET process is compiled first, and a
/// time to first token with the compiler in it would say nothing about the cache.
/// </summary>
internal static class WarmUp
{
    private const int Characters = 64;

    /// <summary>
    /// Continues the beginning of a prompt, without and then with hits, over a small cache of its own; from the real cache it takes one
    /// block of the prompt if there is one.
    /// </summary>
    public static async Task RunAsync(
        IKvCache cache, LoadedModel loaded, string prompt, GenerationOptions options, CancellationToken cancellationToken)
    {
        var (model, tokenizer) = loaded;
        var text = prompt[..Math.Min(Characters, prompt.Length)];
        var few = options with { TokensPerBlock = 4, MaxTokens = 2, OnLoaded = null };
        await using (var scratch = new LocalKvCache(ByteSize.MiB(16)))
        {
            for (var i = 0; i < 2; i++)
                await scratch.GenerateWithCacheAsync(model, tokenizer, text, options: few, cancellationToken: cancellationToken)
                    .ToResultAsync(cancellationToken);
        }

        var prefix = KvPrefix.Of(CachedGeneration.NamespaceOf(model, options), tokenizer.Encode(prompt));
        await using var match = await cache.MatchAsync(prefix, hold: TimeSpan.FromSeconds(1), cancellationToken);
        if (match.Blocks == 0)
            return;
        using var block = await cache.LoadTensorsAsync(prefix, 0, count: 1, cancellationToken: cancellationToken);
    }
}
