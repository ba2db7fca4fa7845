using LLama.Native;

namespace KvCache.LLamaSharp.Execution;

/// <summary>The sequences of a context: each serves one answer at a time.</summary>
internal sealed class ConversationSlots(int count) : IDisposable
{
    private readonly SemaphoreSlim _free = new(count, count);
    private readonly List<ConversationSlot> _slots = [.. Enumerable.Range(0, count).Select(i => new ConversationSlot(i))];
    private long _clock;

    /// <summary>Takes the free slot that holds the most of a prompt; among equals, the one that was used longest ago.</summary>
    public async ValueTask<ConversationSlot> TakeAsync(ReadOnlyMemory<LLamaToken> prompt, CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken).ConfigureAwait(false);
        lock (_slots)
        {
            var slot = _slots.OrderByDescending(slot => slot.Common(prompt.Span)).ThenBy(slot => slot.Used).First();
            _slots.Remove(slot);
            return slot;
        }
    }

    public void Return(ConversationSlot slot)
    {
        lock (_slots)
        {
            slot.Used = ++_clock;
            _slots.Add(slot);
        }

        _free.Release();
    }

    public void Dispose() => _free.Dispose();
}
