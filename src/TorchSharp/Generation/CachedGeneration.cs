using System.Diagnostics;
using System.Runtime.CompilerServices;
using KvCache.Caching;
using KvCache.TorchSharp.Generation;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>Text generation that takes the KV of a prompt's prefix from a cache and leaves there what it computed.</summary>
public static class CachedGeneration
{
    /// <summary>Namespace of a model's KV.</summary>
    public static CacheNamespace NamespaceOf(ICausalModel model, GenerationOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        return new CacheNamespace
        {
            Tenant = options.Tenant,
            Model = model.Name,
            Revision = model.Revision,
            LoraAdapter = options.LoraAdapter,
            Salt = options.Salt,
            Layout = model.CreateLayout(options.TokensPerBlock),
        };
    }

    /// <summary>Generates text, piece by piece. Whatever the cache does, the text is that of the model: a cache that fails only costs
    /// time.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="prompt">The prompt.</param>
    /// <param name="prefix">What stands before the prompt and comes again, such as instructions that many prompts share: only its KV is
    /// stored. Null for no such part: the KV of the whole prompt is stored. Prefix and prompt together have at least one token.</param>
    /// <param name="options">How to generate; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels between tokens.</param>
    /// <returns>The pieces of the text, as soon as their characters are whole, and at the end one with the result
    /// (<see cref="ToResultAsync"/> waits for it). What was computed for the prompt is stored behind the last token, or when the
    /// enumerator is disposed before.</returns>
    /// <exception cref="ArgumentException">There is no token, or there are as many as the context has room for, or an option cannot
    /// be.</exception>
    public static IAsyncEnumerable<GenerationPiece> GenerateWithCacheAsync(
        this IKvCache cache, ICausalModel model, ITokenizer tokenizer, string prompt, string? prefix = null,
        GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        // Not an iterator: wrong arguments are told at once.
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= new GenerationOptions();
        options.Validate();
        var began = Stopwatch.GetTimestamp();
        int[] tokens = tokenizer.Encode(prefix + prompt);
        if (tokens.Length == 0)
            throw new ArgumentException("The prompt has no token; at least one was expected.", nameof(prompt));
        if (tokens.Length >= model.MaxContext)
            throw new ArgumentException(
                $"The prompt has {tokens.Length} tokens; the model's context has room for {model.MaxContext}, one of which is generated.",
                nameof(prompt));

        // Tokens may reach over the end of the prefix: those belong to the prompt.
        var shared = prefix is null ? tokens.Length : tokenizer.Encode(prefix).AsSpan().CommonPrefixLength(tokens);
        var known = new KnownPrompt(KvPrefix.Of(NamespaceOf(model, options), tokens), tokens, shared / options.TokensPerBlock);
        BlockArguments.CheckPrefix(known.Prefix);
        return GenerateAsync(cache, model, tokenizer, known, options, Stopwatch.GetElapsedTime(began), cancellationToken);
    }

    /// <summary>Waits for the end of a text that is being generated.</summary>
    /// <param name="pieces">Its pieces.</param>
    /// <param name="cancellationToken">Cancels between tokens.</param>
    public static async Task<GenerationResult> ToResultAsync(
        this IAsyncEnumerable<GenerationPiece> pieces, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(pieces);
        return (await pieces.LastAsync(cancellationToken)).Result!;
    }

    private static async IAsyncEnumerable<GenerationPiece> GenerateAsync(
        IKvCache cache, ICausalModel model, ITokenizer tokenizer, KnownPrompt prompt, GenerationOptions options, TimeSpan encoding,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        using var session = model.CreateSession();
        var prefill = await PrefillAsync(cache, prompt.Prefix, session, prompt.Tokens, options, cancellationToken);
        var (hitTokens, loadTime) = (prefill.HitTokens, prefill.LoadTime);
        var hitBlocks = hitTokens / options.TokensPerBlock;
        var sampler = new TokenSampler(options.Sampling);
        int next;
        using (prefill.Logits)
            next = sampler.Next(prefill.Logits);
        var timeToFirstToken = encoding + Stopwatch.GetElapsedTime(began);

        var text = new TextPieces(tokenizer);
        var isWaitingForReader = false;
        try
        {
            while (next != tokenizer.EndOfSequence && text.Tokens.Count < options.MaxTokens)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (text.Append(next) is { Length: > 0 } piece)
                {
                    isWaitingForReader = true;
                    yield return new GenerationPiece(piece, null);
                    isWaitingForReader = false;
                }

                if (text.Tokens.Count == options.MaxTokens || session.Length >= model.MaxContext)
                    break;
                using var logits = session.Forward([text.Tokens[^1]]);
                next = sampler.Next(logits);
            }

            if (text.End() is { Length: > 0 } rest)
            {
                isWaitingForReader = true;
                yield return new GenerationPiece(rest, null);
                isWaitingForReader = false;
            }
        }
        finally
        {
            if (isWaitingForReader && !cancellationToken.IsCancellationRequested) // it has left
                await StoreAsync(cache, session, prompt, hitBlocks, options, cancellationToken);
        }

        var stored = await StoreAsync(cache, session, prompt, hitBlocks, options, cancellationToken);
        var perToken = (timeToFirstToken - loadTime) / (prompt.Tokens.Length - hitTokens);
        yield return new GenerationPiece("", new GenerationResult(
            tokenizer.Decode([.. text.Tokens]),
            text.Tokens,
            prompt.Tokens.Length,
            hitTokens,
            timeToFirstToken,
            loadTime,
            hitTokens == 0 ? TimeSpan.Zero : (perToken * hitTokens) - loadTime,
            (long)hitBlocks * prompt.Prefix.Namespace.Layout.BlockBytes,
            stored,
            prefill.HiddenLoadTime));
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
        try
        {
            if (usable > 0 && await LoadAsync() is { } loaded)
                return loaded;
        }
        catch (ObjectDisposedException) when (session.Length == 0)
        {
            // The cache has ended meanwhile: the model goes on without it.
        }

        var loadTime = Stopwatch.GetElapsedTime(began);
        return new Prefill(session.Forward(tokens), 0, loadTime, TimeSpan.Zero);

        async ValueTask<Prefill?> LoadAsync()
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
            return logits is null
                ? null
                : new Prefill(logits, hitTokens, matched + waited, layers.LoadTime > waited ? layers.LoadTime - waited : TimeSpan.Zero);
        }

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

    private static async Task<int> StoreAsync(
        IKvCache cache, ICausalSession session, KnownPrompt prompt, int firstBlock, GenerationOptions options,
        CancellationToken cancellationToken)
    {
        if (options.OnLoaded is not null || firstBlock >= prompt.SharedBlocks)
            return 0;
        var size = options.TokensPerBlock;
        var blocks = new List<torch.Tensor>();
        try
        {
            for (var i = firstBlock; i < prompt.SharedBlocks; i++)
                blocks.Add(session.ExportBlock(i * size, size));
            var how = options.Storing with { SuffixTokens = prompt.Tokens.Length - (firstBlock * size) };
            return (await cache.StoreAsync(prompt.Prefix, firstBlock, blocks, how, cancellationToken)).Stored;
        }
        catch (ObjectDisposedException)
        {
            return 0; // the cache has ended meanwhile
        }
        finally
        {
            blocks.ForEach(block => block.Dispose());
        }
    }

    // Of the prompt, so many blocks from the first on are to be stored.
    private sealed record KnownPrompt(KvPrefix Prefix, int[] Tokens, int SharedBlocks);

    private readonly record struct Prefill(torch.Tensor Logits, int HitTokens, TimeSpan LoadTime, TimeSpan HiddenLoadTime);
}
