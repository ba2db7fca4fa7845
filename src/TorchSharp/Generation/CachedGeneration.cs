using System.Diagnostics;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>How to generate.</summary>
public sealed record GenerationOptions
{
    /// <summary>Tenant of the cache namespace. Default <c>default</c>.</summary>
    public string Tenant { get; init; } = "default";

    /// <summary>Tokens of a block. Default 256; small models and short prompts want fewer.</summary>
    public int TokensPerBlock { get; init; } = 256;

    /// <summary>Most tokens to generate. Default 128.</summary>
    public int MaxTokens { get; init; } = 128;

    /// <summary>How tokens are chosen. Default greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Silos that are to keep what is stored, 1 to 16. Default 1.</summary>
    public int Replicas { get; init; } = 1;

    /// <summary>
    /// Changes a loaded block before it is used. For controls in tests: null otherwise. With it nothing is stored, as what
    /// is computed after a changed block must not be taken for the prompt's KV.
    /// </summary>
    public Action<torch.Tensor>? OnLoaded { get; init; }
}

/// <summary>What was generated and what the cache did for it.</summary>
/// <param name="Text">Generated text, without the prompt.</param>
/// <param name="Tokens">Generated tokens.</param>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="HitTokens">Prompt tokens whose KV came from the cache.</param>
/// <param name="TimeToFirstToken">From the call to the first generated token: match, load and prefill of the rest.</param>
/// <param name="LoadTime">Part of it in which the cache was waited for: the match, the first layer, and layers that were not there when the
/// model needed them.</param>
/// <param name="TimeSaved">
/// Estimate: the hit tokens at this call's own prefill speed, less the time of match and load. Negative when the cache cost more
/// than it saved.
/// </param>
/// <param name="LoadedBytes">Bytes loaded from the cache.</param>
/// <param name="StoredBlocks">Blocks that this call added to the cache.</param>
/// <param name="HiddenLoadTime">Time in which layers were on their way while the model computed; it is not in <paramref
/// name="LoadTime"/>.</param>
public sealed record GenerationResult(
    string Text,
    IReadOnlyList<int> Tokens,
    int PromptTokens,
    int HitTokens,
    TimeSpan TimeToFirstToken,
    TimeSpan LoadTime,
    TimeSpan TimeSaved,
    long LoadedBytes,
    int StoredBlocks,
    TimeSpan HiddenLoadTime);

/// <summary>Text generation that takes the KV of a prompt's prefix from a cache and leaves there what it computed.</summary>
public static class CachedGeneration
{
    /// <summary>Namespace of a model's KV.</summary>
    public static CacheNamespace NamespaceOf(ICausalModel model, GenerationOptions options) => new()
    {
        Tenant = options.Tenant,
        Model = model.Name,
        Revision = model.Revision,
        Layout = model.CreateLayout(options.TokensPerBlock),
    };

    /// <summary>Generates text. Whatever the cache does, the text is that of the model: a cache that fails only costs time.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="prompt">The prompt, at least one token.</param>
    /// <param name="options">How to generate; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels between tokens.</param>
    /// <exception cref="ArgumentException">The prompt has no token, or is as long as the context.</exception>
    public static async Task<GenerationResult> GenerateWithCacheAsync(
        this IKvCache cache, ICausalModel model, ITokenizer tokenizer, string prompt, GenerationOptions? options = null,
            CancellationToken cancellationToken = default)
    {
        options ??= new GenerationOptions();
        var began = Stopwatch.GetTimestamp();
        int[] tokens = [.. tokenizer.Encode(prompt)];
        if (tokens.Length == 0)
            throw new ArgumentException("The prompt has no token; at least one was expected.", nameof(prompt));
        if (tokens.Length >= model.MaxContext)
            throw new ArgumentException(
                $"The prompt has {tokens.Length} tokens; the model's context has room for {model.MaxContext}, one of which is generated.",
                nameof(prompt));
        var prefix = KvPrefix.Of(NamespaceOf(model, options), tokens);
        using var session = model.CreateSession();
        var prefill = await PrefillAsync(cache, prefix, session, tokens, options, cancellationToken);
        var (hitTokens, loadTime) = (prefill.HitTokens, prefill.LoadTime);
        var sampler = new TokenSampler(options.Sampling);
        int next;
        using (prefill.Logits)
            next = sampler.Next(prefill.Logits);
        var timeToFirstToken = Stopwatch.GetElapsedTime(began);

        var generated = new List<int>();
        while (next != tokenizer.EndOfSequence && generated.Count < options.MaxTokens)
        {
            cancellationToken.ThrowIfCancellationRequested();
            generated.Add(next);
            if (generated.Count == options.MaxTokens || session.Length >= model.MaxContext)
                break;
            using var logits = session.Forward([next]);
            next = sampler.Next(logits);
        }

        var hitBlocks = hitTokens / options.TokensPerBlock;
        var stored = options.OnLoaded is null
            ? await StorePrefixAsync(
                cache, prefix, session, hitBlocks, new StoreOptions(SuffixTokens: tokens.Length - hitTokens, Replicas: options.Replicas),
                cancellationToken)
            : 0;
        var perToken = (timeToFirstToken - loadTime) / (tokens.Length - hitTokens);
        return new GenerationResult(
            tokenizer.Decode([.. generated]),
            generated,
            tokens.Length,
            hitTokens,
            timeToFirstToken,
            loadTime,
            hitTokens == 0 ? TimeSpan.Zero : (perToken * hitTokens) - loadTime,
            (long)hitBlocks * prefix.Namespace.Layout.BlockBytes,
            stored,
            prefill.HiddenLoadTime);
    }

    // Computes the prompt: behind what the cache gives of it, layer by layer while it arrives, or all of it when a layer does not come.
    private static async Task<Prefill> PrefillAsync(
        IKvCache cache, KvPrefix prefix, ICausalSession session, int[] tokens, GenerationOptions options,
        CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        var waited = TimeSpan.Zero;
        await using var match = await cache.MatchAsync(prefix, hold: TimeSpan.FromSeconds(5), cancellationToken);

        // The last token is always computed: the first logits come from it.
        var usable = Math.Min(match.Blocks, (tokens.Length - 1) / options.TokensPerBlock);
        if (usable > 0)
        {
            var matched = Stopwatch.GetElapsedTime(began);
            await using var layers = cache.LoadLayerTensors(prefix, 0, usable, match: match, cancellationToken: cancellationToken);
            var hitTokens = (await WaitAsync(layers, 0)).Blocks * options.TokensPerBlock;
            if (options.OnLoaded is { } change && hitTokens > 0)
                hitTokens = await ChangeAsync(layers, change) * options.TokensPerBlock;
            var logits = hitTokens == 0
                ? null
                : await session.ForwardAsync(tokens.AsMemory(hitTokens), hitTokens, async (layer, destination) =>
            {
                await WaitAsync(layers, layer);
                return await layers.CopyToAsync(layer, destination);
            });
            if (logits is not null)
                return new Prefill(
                    logits, hitTokens, matched + waited, layers.LoadTime > waited ? layers.LoadTime - waited : TimeSpan.Zero);
        }

        var loadTime = Stopwatch.GetElapsedTime(began);
        return new Prefill(session.Forward(tokens), 0, loadTime, TimeSpan.Zero);

        async ValueTask<LoadedLayer> WaitAsync(LayerTensors layers, int layer)
        {
            var from = Stopwatch.GetTimestamp();
            var loaded = await layers.WaitAsync(layer);
            waited += Stopwatch.GetElapsedTime(from);
            return loaded;
        }

        async ValueTask<int> ChangeAsync(LayerTensors layers, Action<torch.Tensor> change)
        {
            var blocks = (await WaitAsync(layers, prefix.Namespace.Layout.Layers - 1)).Blocks;
            foreach (var block in layers.Blocks)
                change(block);
            return blocks;
        }
    }

    private static async Task<int> StorePrefixAsync(
        IKvCache cache, KvPrefix prefix, ICausalSession session, int firstBlock, StoreOptions options, CancellationToken cancellationToken)
    {
        var size = prefix.Namespace.Layout.TokensPerBlock;
        var blocks = new List<torch.Tensor>();
        try
        {
            for (var i = firstBlock; i < prefix.BlockCount; i++)
                blocks.Add(session.ExportBlock(i * size, size));
            var result = await cache.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
            return result.Stored;
        }
        finally
        {
            blocks.ForEach(block => block.Dispose());
        }
    }

    private readonly record struct Prefill(torch.Tensor Logits, int HitTokens, TimeSpan LoadTime, TimeSpan HiddenLoadTime);
}
