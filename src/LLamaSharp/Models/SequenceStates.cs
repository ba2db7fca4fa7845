using KvCache.LLamaSharp.States;
using LLama.Native;

namespace KvCache.LLamaSharp.Models;

/// <summary>Ranges of sequences, taken out of a context and put into one through its spare sequence. The caller has the context's
/// lock.</summary>
/// <param name="context">The context.</param>
/// <param name="spare">The sequence that nobody else uses.</param>
internal sealed unsafe class SequenceStates(SafeLLamaContextHandle context, int spare)
{
    private LLamaSeqId Spare => (LLamaSeqId)spare;

    /// <summary>Learns what states are made of, from two states of the spare sequence.</summary>
    /// <exception cref="NotSupportedException">They are not of the form that is known.</exception>
    public StateShape Probe()
    {
        var token = context.Vocab.BOS is { } bos && (int)bos >= 0 ? bos : (LLamaToken)0;
        var batch = new LLamaBatch();
        batch.Add(token, 0, Spare, false);
        batch.Add(token, 1, Spare, true);
        Clear();
        try
        {
            if (context.Decode(batch) is var result && result != DecodeResult.Ok)
                throw new NotSupportedException($"The context cannot compute in its spare sequence {spare}: {result}.");
            var two = StateShape.Parse(ReadSpare(), cells: 2);
            context.MemorySequenceRemove(Spare, 1, -1);
            var one = StateShape.Parse(ReadSpare(), cells: 1);
            return two.IsLike(one)
                ? two
                : throw new NotSupportedException(
                    "States of one token and of two are of different shapes: the model's KV cannot be cut into blocks.");
        }
        catch (FormatException e)
        {
            throw new NotSupportedException(
                $"The state of a sequence is not of the form that is known of llama.cpp: {e.Message}. Other memory than a KV cache, or "
                + $"another llama.cpp than this was made for (it is {LlamaLibrary.Build}).",
                e);
        }
        finally
        {
            Clear();
        }
    }

    /// <summary>Takes out a range.</summary>
    /// <returns>False when the range is not what was expected: the sequence does not hold it.</returns>
    public bool TryExport(int sequence, int first, int end, Span<byte> destination)
    {
        context.MemorySequenceCopy((LLamaSeqId)sequence, Spare, first, end);
        try
        {
            if (context.GetStateSize(Spare) != (nuint)destination.Length)
                return false;
            fixed (byte* pointer = destination)
                return context.GetState(pointer, (nuint)destination.Length, Spare) == (nuint)destination.Length;
        }
        finally
        {
            Clear();
        }
    }

    /// <summary>Puts a range behind what a sequence has.</summary>
    /// <returns>False when llama.cpp did not take it: it has no room.</returns>
    public bool TryImport(int sequence, ReadOnlySpan<byte> block)
    {
        try
        {
            fixed (byte* pointer = block)
            {
                if (context.SetState(pointer, (nuint)block.Length, Spare) == 0)
                    return false;
            }

            context.MemorySequenceCopy(Spare, (LLamaSeqId)sequence, -1, -1);
            return true;
        }
        finally
        {
            Clear();
        }
    }

    private byte[] ReadSpare()
    {
        var state = new byte[context.GetStateSize(Spare)];
        fixed (byte* pointer = state)
            context.GetState(pointer, (nuint)state.Length, Spare);
        return state;
    }

    private void Clear() => context.MemorySequenceRemove(Spare, -1, -1);
}
