using System.Diagnostics;
using System.Runtime.CompilerServices;
using KvCache.LLamaSharp.Chat;
using LLama;
using LLama.Abstractions;
using LLama.Common;
using LLama.Exceptions;
using LLama.Native;

namespace KvCache.LLamaSharp.Execution;

/// <summary>One answer in one slot.</summary>
internal sealed class AnswerRun(LLamaPrefixExecutor executor, ConversationSlot slot, LLamaToken[] prompt, IInferenceParams parameters)
{
    private readonly LLamaBatch _batch = new();

    private SafeLLamaContextHandle Native => executor.Context.NativeHandle;

    private LLamaSeqId Sequence => (LLamaSeqId)slot.Sequence;

    private int Room => executor.ConversationTokens;

    public async IAsyncEnumerable<LLamaAnswerPiece> RunAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        parameters.SamplingPipeline.Reset();
        var (restore, resident) = await PrepareAsync(cancellationToken).ConfigureAwait(false);
        var cached = slot.Tokens.Count;
        var decoder = new StreamingTokenDecoder(executor.Context) { DecodeSpecialTokens = parameters.DecodeSpecialTokens };
        var stops = new StopFilter(parameters.AntiPrompts);
        var most = parameters.MaxTokens < 0 ? int.MaxValue : parameters.MaxTokens;
        var made = 0;
        var end = LLamaAnswerEnd.Length;
        var suffix = prompt.Length - cached;
        var isPromptStored = false;
        TimeSpan first;
        try
        {
            var next = await PrefillAsync(cancellationToken).ConfigureAwait(false);
            first = Stopwatch.GetElapsedTime(began);
            while (made < most)
            {
                if (next.IsEndOfGeneration(executor.Context.Vocab))
                {
                    end = LLamaAnswerEnd.Stop;
                    break;
                }

                made++;
                decoder.Add(next);
                var text = decoder.Read();
                if (text.Length > 0)
                    yield return new LLamaAnswerPiece(text, null);
                if (!isPromptStored)
                    await executor.StoreAsync(slot, suffix).ConfigureAwait(false); // now that the first token is out
                isPromptStored = true;
                stops.Add(text);
                if (stops.IsStopped)
                {
                    end = LLamaAnswerEnd.Stop;
                    break;
                }

                if (made == most || !await MakeRoomAsync(cancellationToken).ConfigureAwait(false))
                    break;
                next = await StepAsync(new[] { next }, isLast: true, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            // Also when the answer is cancelled or left early: what was computed is right.
            if (!isPromptStored || executor.Options.StoreAnswers)
                await executor.StoreAsync(slot, suffix).ConfigureAwait(false);
        }

        yield return new LLamaAnswerPiece("", new LLamaAnswerUsage(prompt.Length, cached, resident, made, first, restore, end));
    }

    /// <summary>Brings the start of the prompt into the slot: what it holds already, and what the cache has.</summary>
    private async ValueTask<(PrefixRestore Restore, int Resident)> PrepareAsync(CancellationToken cancellationToken)
    {
        var resident = Math.Min(slot.Common(prompt), prompt.Length - 1);
        slot.Tokens.Clear(); // until the context says what it holds
        await executor.Prefixes.UseAsync(() => Native.MemorySequenceRemove(Sequence, resident, -1), cancellationToken)
            .ConfigureAwait(false);
        var restore = await executor.Prefixes.RestoreAsync(prompt, slot.Sequence, resident, cancellationToken).ConfigureAwait(false);
        slot.Tokens.AddRange(prompt.AsSpan(0, restore.Tokens));
        slot.IsPrefix = true;
        // What was restored is stored, and with it all that stands before it.
        var blocks = restore.Tokens / executor.Prefixes.BlockTokens;
        if (restore.Blocks > 0)
            slot.Stored(blocks);
        else
            slot.NotStored(blocks);
        return (restore, Math.Min(resident, restore.Tokens));
    }

    /// <summary>
    /// Computes what is missing of the prompt, in batches that end at multiples of the same number of tokens whatever was restored: where
    /// a prompt is cut changes the last bits of its KV.
    /// </summary>
    private async ValueTask<LLamaToken> PrefillAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var done = slot.Tokens.Count;
            var end = Math.Min(prompt.Length, (done / executor.BatchTokens * executor.BatchTokens) + executor.BatchTokens);
            var isLast = end == prompt.Length;
            var token = await StepAsync(prompt.AsMemory(done, end - done), isLast, cancellationToken).ConfigureAwait(false);
            if (isLast)
                return token;
        }
    }

    /// <summary>Computes tokens behind those of the slot, and chooses the next one while the logits are those of this answer.</summary>
    private async ValueTask<LLamaToken> StepAsync(ReadOnlyMemory<LLamaToken> tokens, bool isLast, CancellationToken cancellationToken)
    {
        var position = slot.Tokens.Count;
        var context = executor.Prefixes.ContextLock;
        await context.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // On a thread of the pool: the caller's may be one that must not be blocked for seconds.
            return await Task.Run(Decode, CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            context.Release();
        }

        LLamaToken Decode()
        {
            _batch.Clear();
            for (var i = 0; i < tokens.Length; i++)
                _batch.Add(tokens.Span[i], position + i, Sequence, isLast && i == tokens.Length - 1);
            DecodeResult result;
            using (executor.Abort.On(cancellationToken))
                result = Native.Decode(_batch);
            if (result != DecodeResult.Ok)
            {
                Native.MemorySequenceRemove(Sequence, position, -1); // some of the batch may be there
                cancellationToken.ThrowIfCancellationRequested();
                throw new LLamaDecodeError(result);
            }

            slot.Tokens.AddRange(tokens.Span);
            return isLast ? parameters.SamplingPipeline.Sample(Native, tokens.Length - 1) : default;
        }
    }

    /// <summary>Makes room for a token where the conversation has none, by a shift if that is wanted.</summary>
    /// <returns>Whether there is room.</returns>
    private async ValueTask<bool> MakeRoomAsync(CancellationToken cancellationToken)
    {
        if (slot.Tokens.Count < Room)
            return true;
        if (parameters.OverflowStrategy == ContextOverflowStrategy.ThrowException || !Native.MemoryCanShift)
            return false;
        var keep = parameters.TokensKeep < 0 || parameters.TokensKeep > prompt.Length ? prompt.Length : parameters.TokensKeep;
        var left = slot.Tokens.Count - keep;
        if (left < 2)
            return false;
        if (executor.Options.StoreAnswers)
            await executor.StoreAsync(slot, 0).ConfigureAwait(false); // the last time that it is a prefix
        var discard = Math.Clamp((int)(left * Math.Clamp(parameters.ContextTruncationPercentage, 0.01f, 0.99f)), 1, left - 1);
        slot.IsPrefix = false;
        await executor.Prefixes.UseAsync(
            () =>
            {
                Native.MemorySequenceRemove(Sequence, keep, keep + discard);
                Native.MemorySequenceAdd(Sequence, keep + discard, -1, -discard);
            },
            cancellationToken).ConfigureAwait(false);
        slot.Tokens.RemoveRange(keep, discard);
        return true;
    }
}
