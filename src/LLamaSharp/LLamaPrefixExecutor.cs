using System.Runtime.CompilerServices;
using KvCache.LLamaSharp.Chat;
using KvCache.LLamaSharp.Execution;
using KvCache.LLamaSharp.Models;
using LLama;
using LLama.Abstractions;
using LLama.Common;
using LLama.Exceptions;
using LLama.Native;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.LLamaSharp;

/// <summary>
/// Answers prompts on one context of llama.cpp. Each prompt begins with what the context still holds of it and what the cache has; what is
/// computed goes to the cache behind the answer.
/// </summary>
/// <remarks>
/// <para>
/// No state of its own that matters: a prompt names everything, so that another process answers the next one as well. Sampling pipelines,
/// texts that end an answer, and the strategy for a full context are those of LLamaSharp's inference parameters.
/// </para>
/// <para>
/// Several answers run at the same time, each in a sequence of its own; they take turns, a batch of a prompt or a token at a time. A cache
/// that is down, slow or lying only costs the time that it could have saved.
/// </para>
/// </remarks>
public sealed class LLamaPrefixExecutor : ILLamaExecutor, IAsyncDisposable
{
    private readonly ConversationSlots _slots;
    private readonly StoreQueue _queue;

    private LLamaPrefixExecutor(
        LLamaContext context, LLamaPrefixCache prefixes, LLamaPrefixExecutorOptions options, ILoggerFactory loggers)
    {
        (Context, Prefixes, Options) = (context, prefixes, options);
        ConversationTokens = (int)context.ContextSize / options.Conversations;
        var batch = (int)context.BatchSize;
        BatchTokens = batch < prefixes.BlockTokens ? batch : batch / prefixes.BlockTokens * prefixes.BlockTokens;
        Abort = new AbortFlag(context.NativeHandle);
        _slots = new ConversationSlots(options.Conversations);
        _queue = new StoreQueue(options.PendingSize.Bytes, loggers.CreateLogger<LLamaPrefixExecutor>());
    }

    /// <inheritdoc/>
    public LLamaContext Context { get; }

    /// <summary>The prefixes of the context.</summary>
    public LLamaPrefixCache Prefixes { get; }

    /// <summary>Most tokens of one conversation, prompt and answer together.</summary>
    public int ConversationTokens { get; }

    /// <inheritdoc/>
    bool ILLamaExecutor.IsMultiModal => false;

    /// <inheritdoc/>
    MtmdWeights? ILLamaExecutor.ClipModel => null;

    /// <inheritdoc/>
    List<SafeMtmdEmbed> ILLamaExecutor.Embeds { get; } = [];

    internal LLamaPrefixExecutorOptions Options { get; }

    internal AbortFlag Abort { get; }

    /// <summary>A prompt is cut into batches at multiples of so many tokens.</summary>
    internal int BatchTokens { get; }

    /// <summary>Makes a context with a sequence for each conversation and one to spare, and joins it with a cache.</summary>
    /// <param name="weights">The model; not disposed with this.</param>
    /// <param name="parameters">As for any context of LLamaSharp; <c>SeqMax</c> and <c>KVUnified</c> are set here. The model's file is the
    /// one that they name.</param>
    /// <param name="cache">The cache; not disposed with this.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="loggers">Where to log; null for nowhere.</param>
    /// <exception cref="OptionsValidationException">An option is out of its bounds, or one is missing.</exception>
    /// <exception cref="NotSupportedException">The model or the parameters cannot be served; the message says why and what was
    /// expected.</exception>
    /// <exception cref="IOException">The model's file cannot be read.</exception>
    public static LLamaPrefixExecutor Create(
        LLamaWeights weights, ModelParams parameters, IKvCache cache, LLamaPrefixExecutorOptions? options = null,
        ILoggerFactory? loggers = null)
    {
        options ??= new LLamaPrefixExecutorOptions();
        loggers ??= NullLoggerFactory.Instance;
        if (options.Validate() is { Count: > 0 } failures)
            throw new OptionsValidationException(
                Microsoft.Extensions.Options.Options.DefaultName, typeof(LLamaPrefixExecutorOptions), failures);
        parameters = parameters with { SeqMax = (uint)options.Conversations + 1, KVUnified = true };
        ContextChecks.BeforeCreation(weights, parameters);
        ContextChecks.Window(weights.NativeHandle, options.Prefixes.BlockTokens);
        var context = weights.CreateContext(parameters);
        try
        {
            return new LLamaPrefixExecutor(context, LLamaPrefixCache.Create(cache, context, options.Prefixes, loggers), options, loggers);
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    /// <summary>The answer to a prompt, as text.</summary>
    /// <inheritdoc cref="AnswerAsync"/>
    public async IAsyncEnumerable<string> InferAsync(
        string text, IInferenceParams? inferenceParams = null, [EnumeratorCancellation] CancellationToken token = default)
    {
        await foreach (var piece in AnswerAsync(text, inferenceParams, token).ConfigureAwait(false))
        {
            if (piece.Text.Length > 0)
                yield return piece.Text;
        }
    }

    /// <summary>The answer to a prompt, piece by piece, and what it took.</summary>
    /// <param name="text">The whole prompt; special tokens in it are taken as such.</param>
    /// <param name="inferenceParams">Sampling, texts that end the answer (they are part of it), the most tokens, and what happens when the
    /// conversation is full; null for LLamaSharp's defaults. A full conversation ends the answer unless the strategy is to truncate: then
    /// the oldest tokens behind <c>TokensKeep</c> are dropped, and nothing of this answer is stored from there on.</param>
    /// <param name="token">Cancels, also in the middle of a batch. What was computed is kept.</param>
    /// <exception cref="ContextOverflowException">The prompt leaves no room for an answer.</exception>
    /// <exception cref="ArgumentException">The prompt has no token.</exception>
    /// <exception cref="LLamaDecodeError">llama.cpp failed.</exception>
    public async IAsyncEnumerable<LLamaAnswerPiece> AnswerAsync(
        string text, IInferenceParams? inferenceParams = null, [EnumeratorCancellation] CancellationToken token = default)
    {
        var prompt = Tokenize(text);
        var slot = await _slots.TakeAsync(prompt, token).ConfigureAwait(false);
        try
        {
            var run = new AnswerRun(this, slot, prompt, inferenceParams ?? new InferenceParams());
            await foreach (var piece in run.RunAsync(token).ConfigureAwait(false))
                yield return piece;
        }
        finally
        {
            _slots.Return(slot);
        }
    }

    /// <summary>The tokens of a prompt.</summary>
    /// <exception cref="ContextOverflowException">It leaves no room for an answer.</exception>
    /// <exception cref="ArgumentException">It has no token.</exception>
    public LLamaToken[] Tokenize(string text)
    {
        var tokens = Context.Tokenize(text, addBos: true, special: true);
        if (tokens.Length == 0)
            throw new ArgumentException("The prompt has no token; at least one was expected.", nameof(text));
        // A template that begins with it: the model has seen one only.
        if (tokens.Length > 1 && Context.Vocab.BOS is { } bos && tokens[0] == bos && tokens[1] == bos)
            tokens = tokens[1..];
        return tokens.Length < ConversationTokens
            ? tokens
            : throw new ContextOverflowException(
                $"The prompt has {tokens.Length} tokens and a conversation has room for {ConversationTokens}, one of which at least is the "
                + "answer's; a shorter prompt, or a larger ContextSize, was expected.");
    }

    /// <summary>This executor as a chat client, which tells cached tokens in its usage.</summary>
    /// <param name="options">How messages become a prompt; null for the model's own template, or plain text where it has none that is
    /// known.</param>
    public IChatClient AsChatClient(LLamaChatOptions? options = null) => new LLamaChatClient(this, options ?? new LLamaChatOptions());

    /// <summary>Waits until what was computed so far is in the cache, or was given up.</summary>
    public Task FlushAsync(CancellationToken cancellationToken = default) => _queue.FlushAsync(cancellationToken);

    /// <summary>Frees the context. Answers that run must have ended; what is not sent to the cache is given up (<see
    /// cref="FlushAsync"/>).</summary>
    public async ValueTask DisposeAsync()
    {
        await _queue.DisposeAsync().ConfigureAwait(false);
        Context.Dispose();
        Abort.Dispose();
        Prefixes.Dispose();
        _slots.Dispose();
    }

    /// <summary>Takes the blocks of a slot that are new out of the context, at once, and sends them behind.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="suffix">Tokens that the prompt had behind what was cached.</param>
    internal async ValueTask StoreAsync(ConversationSlot slot, int suffix)
    {
        if (!slot.IsPrefix || slot.Tokens.Count / Prefixes.BlockTokens <= slot.StoredBlocks)
            return;
        var prefix = Prefixes.PrefixOf([.. slot.Tokens]);
        var store = (Options.Store ?? new StoreOptions()) with { SuffixTokens = suffix };
        while (slot.StoredBlocks < prefix.BlockCount && _queue.HasRoom(Prefixes.Form.Bytes))
        {
            var blocks = await Prefixes.ExportAsync(prefix, slot.Sequence, slot.StoredBlocks, CancellationToken.None).ConfigureAwait(false);
            if (blocks.Blocks.Count == 0)
            {
                blocks.Dispose();
                return;
            }

            var first = slot.StoredBlocks;
            slot.Stored(blocks.End);
            _queue.Add(blocks, (long)blocks.Blocks.Count * Prefixes.Form.Bytes, store, () => slot.NotStored(first));
        }
    }
}
