using System.Diagnostics;
using System.Runtime.InteropServices;
using KvCache.LLamaSharp.Models;
using KvCache.LLamaSharp.States;
using LLama;
using LLama.Native;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.LLamaSharp;

/// <summary>
/// Prefixes of the sequences of one llama.cpp context in a cache: <see cref="RestoreAsync"/> before a prompt is computed, <see
/// cref="StoreAsync"/> behind it.
/// </summary>
/// <remarks>
/// <para>
/// A block is the state of a range of tokens as llama.cpp gives it, taken out and put back through a spare sequence. What it says beside
/// the KV (counts, positions, types) is compared with what it must be before llama.cpp sees it; the KV is verified by the cache's
/// checksums. Everything that changes the bytes is in the <see cref="Namespace"/>.
/// </para>
/// <para>
/// A sequence is a prefix only as long as its tokens were computed one behind the other. After a context shift (tokens dropped, the
/// others moved) or <c>MemorySequenceDivide</c> its positions look like a prefix and are none: do not store it any more. <see
/// cref="LLamaPrefixExecutor"/> takes care of that.
/// </para>
/// <para>Whatever the cache does, and were it to throw, the result is fewer restored tokens. Calls may run at the same time for different
/// sequences.</para>
/// </remarks>
public sealed partial class LLamaPrefixCache : IDisposable
{
    private readonly IKvCache _cache;
    private readonly LLamaContext _context;
    private readonly LLamaPrefixCacheOptions _options;
    private readonly SequenceStates _states;
    private readonly BlockBuffers _buffers;
    private readonly List<LoraAdapter> _adapters = [];
    private readonly ILogger _logger;

    private LLamaPrefixCache(IKvCache cache, LLamaContext context, LLamaPrefixCacheOptions options, int spare, ILogger logger)
    {
        (_cache, _context, _options, _logger) = (cache, context, options, logger);
        ContextLock = options.ContextLock ?? new SemaphoreSlim(1, 1);
        SpareSequence = spare;
        _states = new SequenceStates(context.NativeHandle, spare);
        var shape = _states.Probe();
        Form = new BlockForm(shape, options.BlockTokens);
        Namespace = ContextNamespace.Of(context, options, shape, Form);
        _ = Namespace.Id; // a field that is too long is said here
        if (options.LoraAdapters.Count > 0)
        {
            _adapters.AddRange(options.LoraAdapters.Select(lora => context.NativeHandle.ModelHandle.LoadLoraFromFile(lora.Path)));
            context.NativeHandle.SetLoraAdapters([.. _adapters.Zip(options.LoraAdapters, (adapter, lora) => (adapter, lora.Scale))]);
        }

        _buffers = new BlockBuffers(Form.Bytes, options.PieceSize.Bytes);
        LogOpened(Namespace.ToString(), Form.Bytes);
    }

    /// <summary>The namespace of the context's blocks.</summary>
    public CacheNamespace Namespace { get; }

    /// <summary>Taken for as long as the context is used: by this class itself, and by everybody else who decodes in the
    /// context.</summary>
    public SemaphoreSlim ContextLock { get; }

    /// <summary>The sequence that blocks pass through.</summary>
    public int SpareSequence { get; }

    /// <summary>Tokens of a block.</summary>
    public int BlockTokens => _options.BlockTokens;

    internal BlockForm Form { get; }

    /// <summary>Joins a context and a cache: asks the context what its states are made of, and reads the model's digest.</summary>
    /// <param name="cache">The cache; not disposed with this.</param>
    /// <param name="context">A context with <c>KVUnified</c> (the default) and a sequence more than conversations; not disposed with
    /// this. Nobody else may use it until this returns.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="loggers">Where to log; null for nowhere.</param>
    /// <exception cref="OptionsValidationException">An option is out of its bounds, or one is missing.</exception>
    /// <exception cref="NotSupportedException">The model or the context cannot be served; the message says why and what was
    /// expected.</exception>
    /// <exception cref="IOException">The model's file cannot be read.</exception>
    public static LLamaPrefixCache Create(
        IKvCache cache, LLamaContext context, LLamaPrefixCacheOptions? options = null, ILoggerFactory? loggers = null)
    {
        options ??= new LLamaPrefixCacheOptions();
        if (options.Validate() is { Count: > 0 } failures)
            throw new OptionsValidationException(
                Microsoft.Extensions.Options.Options.DefaultName, typeof(LLamaPrefixCacheOptions), failures);
        if (context.NativeHandle.IsInvalid)
            throw new NotSupportedException("llama.cpp has refused to make this context; its log says why.");
        ContextChecks.BeforeUse(context.NativeHandle.ModelHandle, context.Params);
        ContextChecks.Window(context.NativeHandle.ModelHandle, options.BlockTokens);
        var sequences = (int)context.NativeHandle.MaxSeq;
        var spare = options.SpareSequence ?? (sequences - 1);
        if (sequences < 2 || spare < 0 || spare >= sequences)
            throw new NotSupportedException(
                $"The context has {sequences} sequences and the spare one is {spare}; SeqMax of one more than conversations, and one of "
                + "them as the spare sequence, were expected.");
        return new LLamaPrefixCache(
            cache, context, options, spare, (loggers ?? NullLoggerFactory.Instance).CreateLogger<LLamaPrefixCache>());
    }

    /// <summary>Brings as much of a prompt into a sequence as the cache has.</summary>
    /// <param name="tokens">The prompt, at least one token.</param>
    /// <param name="sequence">The sequence. It holds nothing but <paramref name="resident"/> tokens.</param>
    /// <param name="resident">Tokens of this prompt that the sequence has already, from position 0 on; fewer than the prompt has.</param>
    /// <param name="cancellationToken">Cancels; the sequence then holds some of the prompt.</param>
    /// <returns>What the sequence holds now: of the prompt, from its first token on, and never all of it, as one token has to be
    /// computed.</returns>
    /// <exception cref="ArgumentException">A number is out of its bounds.</exception>
    public async ValueTask<PrefixRestore> RestoreAsync(
        ReadOnlyMemory<LLamaToken> tokens, int sequence, int resident = 0, CancellationToken cancellationToken = default)
    {
        CheckSequence(sequence);
        if (resident < 0 || resident >= tokens.Length)
            throw new ArgumentException(
                $"{resident} of {tokens.Length} tokens are said to be there; 0 to one less than the prompt has was expected.",
                nameof(resident));
        var began = Stopwatch.GetTimestamp();
        var prefix = PrefixOf(tokens.Span);
        var firstBlock = resident / BlockTokens;
        if (firstBlock == prefix.BlockCount)
            return new PrefixRestore(resident, 0, MissReason.None, default, default, default);
        await using var match = await AskAsync(
            () => _cache.MatchAsync(prefix, _options.Hold, cancellationToken), Broken(), cancellationToken).ConfigureAwait(false);
        var matchTime = Stopwatch.GetElapsedTime(began);
        var found = Math.Min(match.Blocks, prefix.BlockCount);
        if (found <= firstBlock)
            return new PrefixRestore(resident, 0, match.Reason, matchTime, default, default);
        if (resident % BlockTokens != 0)
            await UseAsync(
                () => _context.NativeHandle.MemorySequenceRemove((LLamaSeqId)sequence, firstBlock * BlockTokens, -1), cancellationToken)
                .ConfigureAwait(false);
        var restore = new Restore(this, prefix, sequence, firstBlock, found, match);
        var reason = await restore.RunAsync(cancellationToken).ConfigureAwait(false);
        var held = (firstBlock + restore.Blocks) * BlockTokens;
        if (held == tokens.Length)
        {
            // One token must be computed for its logits: the last one once more, instead of a whole block.
            held--;
            await UseAsync(() => _context.NativeHandle.MemorySequenceRemove((LLamaSeqId)sequence, held, -1), cancellationToken)
                .ConfigureAwait(false);
        }

        return new PrefixRestore(
            held, restore.Blocks, reason == MissReason.None && found < prefix.BlockCount ? match.Reason : reason, matchTime,
            restore.LoadTime, restore.ImportTime);

        CacheMatch Broken() => new(0, BlockTokens, MissReason.Unavailable);
    }

    /// <summary>Stores the full blocks of a sequence.</summary>
    /// <param name="tokens">What the sequence holds, from position 0 on: all of it was computed one behind the other.</param>
    /// <param name="sequence">The sequence.</param>
    /// <param name="from">Tokens that need not be stored, as a restore has brought them.</param>
    /// <param name="options">Time to live, durability and so on; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <returns>What became of the blocks; those that the sequence turned out not to hold are counted as refused.</returns>
    /// <exception cref="ArgumentException">A number is out of its bounds.</exception>
    public async ValueTask<StoreResult> StoreAsync(
        ReadOnlyMemory<LLamaToken> tokens, int sequence, int from = 0, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        CheckSequence(sequence);
        if (from < 0 || from > tokens.Length)
            throw new ArgumentException($"{from} of {tokens.Length} tokens need not be stored; 0 to all was expected.", nameof(from));
        var prefix = PrefixOf(tokens.Span);
        var total = default(StoreResult);
        for (var block = from / BlockTokens; block < prefix.BlockCount;)
        {
            using var piece = await ExportAsync(prefix, sequence, block, cancellationToken).ConfigureAwait(false);
            if (piece.Blocks.Count == 0)
                return total with { Refused = total.Refused + prefix.BlockCount - block };
            var stored = await AskAsync(
                () => piece.SendAsync(options, cancellationToken), new StoreResult(0, 0, 0, MissReason.Unavailable, null),
                cancellationToken).ConfigureAwait(false);
            total = new StoreResult(
                total.Stored + stored.Stored, total.AlreadyStored + stored.AlreadyStored, total.Refused + stored.Refused, stored.Reason,
                total.FirstRefusal ?? stored.FirstRefusal);
            if (stored.Reason != MissReason.None)
                break;
            block += piece.Blocks.Count;
        }

        return total;
    }

    /// <summary>Writes the state of a sequence to a file that llama-server restores into a slot (<c>POST
    /// /slots/N?action=restore</c>).</summary>
    /// <param name="path">Path of the file.</param>
    /// <param name="tokens">What the sequence holds, all of it.</param>
    /// <param name="sequence">The sequence.</param>
    /// <param name="cancellationToken">Cancels the wait for the context.</param>
    /// <returns>Bytes of the file.</returns>
    /// <exception cref="IOException">llama.cpp could not write it.</exception>
    public async ValueTask<long> WriteSlotFileAsync(
        string path, ReadOnlyMemory<LLamaToken> tokens, int sequence, CancellationToken cancellationToken = default)
    {
        CheckSequence(sequence);
        var written = 0L;
        await UseAsync(
            () =>
            {
                unsafe
                {
                    fixed (LLamaToken* pointer = tokens.Span)
                        written = (long)NativeApi.llama_state_seq_save_file(
                            _context.NativeHandle, path, (LLamaSeqId)sequence, pointer, (nuint)tokens.Length);
                }
            },
            cancellationToken).ConfigureAwait(false);
        return written > 0 ? written : throw new IOException($"llama.cpp could not write {path}.");
    }

    /// <summary>Frees its buffers, and nothing else: context and cache are the caller's.</summary>
    public void Dispose() => _buffers.Dispose();

    /// <summary>Takes as many blocks as one piece has out of the context.</summary>
    internal async ValueTask<ExportedBlocks> ExportAsync(
        KvPrefix prefix, int sequence, int firstBlock, CancellationToken cancellationToken)
    {
        var count = Math.Min(_buffers.BlocksOfPiece, prefix.BlockCount - firstBlock);
        var buffer = _buffers.Rent();
        var blocks = _buffers.Blocks(buffer, count);
        var exported = 0;
        try
        {
            await UseAsync(
                () =>
                {
                    while (exported < count && TryExport(sequence, firstBlock + exported, blocks[exported].Span))
                        exported++;
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            _buffers.Return(buffer);
            throw;
        }

        if (exported < count)
            LogNotHeld(sequence, firstBlock + exported);
        return new ExportedBlocks(_cache, prefix, firstBlock, [.. blocks.Take(exported)], () => _buffers.Return(buffer));
    }

    internal KvPrefix PrefixOf(ReadOnlySpan<LLamaToken> tokens) => KvPrefix.Of(Namespace, MemoryMarshal.Cast<LLamaToken, int>(tokens));

    /// <summary>Uses the context, which nobody else does meanwhile.</summary>
    internal async ValueTask UseAsync(Action use, CancellationToken cancellationToken)
    {
        await ContextLock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            use();
        }
        finally
        {
            ContextLock.Release();
        }
    }

    /// <summary>Asks the cache. One that breaks its promise never to throw is one that does not answer.</summary>
    private async ValueTask<T> AskAsync<T>(Func<ValueTask<T>> call, T noAnswer, CancellationToken cancellationToken)
    {
        try
        {
            return await call().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OutOfMemoryException && !cancellationToken.IsCancellationRequested)
        {
            LogBroken(e);
            return noAnswer;
        }
    }

    private bool TryExport(int sequence, int block, Span<byte> destination)
    {
        var first = block * BlockTokens;
        if (!_states.TryExport(sequence, first, first + BlockTokens, destination))
            return false;
        Form.Normalize(destination, first);
        return Form.Fits(destination, first);
    }

    private void CheckSequence(int sequence)
    {
        if (sequence < 0 || sequence >= _context.NativeHandle.MaxSeq || sequence == SpareSequence)
            throw new ArgumentException(
                $"The sequence is {sequence}; 0 to {_context.NativeHandle.MaxSeq - 1}, and not the spare one ({SpareSequence}), was "
                + "expected.",
                nameof(sequence));
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Prefixes of {Namespace}; a block has {Bytes} bytes")]
    private partial void LogOpened(string @namespace, int bytes);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Sequence {Sequence} does not hold block {Block} as a prefix would; it is not stored, nor what is behind it")]
    private partial void LogNotHeld(int sequence, int block);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "{Namespace}: block {Block} does not say what it must beside its KV, and is not used: somebody stores other bytes here")]
    private partial void LogForeign(string @namespace, int block);

    [LoggerMessage(Level = LogLevel.Error, Message = "The cache failed; it counts as one that does not answer")]
    private partial void LogBroken(Exception exception);

    [LoggerMessage(Level = LogLevel.Debug, Message = "llama.cpp has no room for block {Block}")]
    private partial void LogNoRoom(int block);
}
