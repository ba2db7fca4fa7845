using System.Diagnostics;
using TorchSharp;

namespace KvCache.Client;

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
/// <param name="LoadTime">Part of it that was spent on match and load.</param>
/// <param name="TimeSaved">
/// Estimate: the hit tokens at this call's own prefill speed, less the time of match and load. Negative when the cache cost more
/// than it saved.
/// </param>
/// <param name="LoadedBytes">Bytes loaded from the cache.</param>
/// <param name="StoredBlocks">Blocks that this call added to the cache.</param>
public sealed record GenerationResult(
    string Text,
    IReadOnlyList<int> Tokens,
    int PromptTokens,
    int HitTokens,
    TimeSpan TimeToFirstToken,
    TimeSpan LoadTime,
    TimeSpan TimeSaved,
    long LoadedBytes,
    int StoredBlocks);

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
        this IKvCache cache, ICausalModel model, ITokenizer tokenizer, string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new GenerationOptions();
        var began = Stopwatch.GetTimestamp();
        int[] tokens = [.. tokenizer.Encode(prompt)];
        if (tokens.Length == 0)
            throw new ArgumentException("The prompt has no token; at least one was expected.", nameof(prompt));
        if (tokens.Length >= model.MaxContext)
            throw new ArgumentException($"The prompt has {tokens.Length} tokens; the model's context has room for {model.MaxContext}, one of which is generated.", nameof(prompt));
        var prefix = KvPrefix.Of(NamespaceOf(model, options), tokens);
        using var session = model.CreateSession();
        await LoadPrefixAsync(cache, prefix, session, tokens.Length, options, cancellationToken);
        var hitTokens = session.Length;
        var loadTime = Stopwatch.GetElapsedTime(began);

        var sampler = new TokenSampler(options.Sampling);
        int next;
        using (var logits = session.Forward(tokens.AsSpan(hitTokens)))
            next = sampler.Next(logits);
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
            ? await StorePrefixAsync(cache, prefix, session, hitBlocks, new StoreOptions(SuffixTokens: tokens.Length - hitTokens, Replicas: options.Replicas), cancellationToken)
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
            stored);
    }

    private static async Task LoadPrefixAsync(IKvCache cache, KvPrefix prefix, ICausalSession session, int promptTokens, GenerationOptions options, CancellationToken cancellationToken)
    {
        await using var match = await cache.MatchAsync(prefix, hold: TimeSpan.FromSeconds(5), cancellationToken);

        // The last token is always computed: the first logits come from it.
        var usable = Math.Min(match.Blocks, (promptTokens - 1) / options.TokensPerBlock);
        if (usable == 0)
            return;
        var (blocks, _) = await cache.LoadTensorsAsync(prefix, 0, usable, cancellationToken: cancellationToken);
        foreach (var block in blocks)
        {
            using (block)
            {
                options.OnLoaded?.Invoke(block);
                session.ImportBlock(block);
            }
        }
    }

    private static async Task<int> StorePrefixAsync(IKvCache cache, KvPrefix prefix, ICausalSession session, int firstBlock, StoreOptions options, CancellationToken cancellationToken)
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
}
