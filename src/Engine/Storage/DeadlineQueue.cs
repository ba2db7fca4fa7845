using System.Diagnostics.CodeAnalysis;

namespace KvCache.Engine.Storage;

/// <summary>Expiries and ends of pins, soonest first.</summary>
/// <remarks>
/// A block is queued once for each deadline it was ever given, and what the block says when that comes decides. Deadlines
/// that no longer hold stay queued; when they are the most, the queue is built anew from the resident blocks.
/// </remarks>
internal sealed class DeadlineQueue(Dictionary<BlockKey, BlockEntry> residents, TimeProvider time)
{
    private const int AlwaysKept = 1024;

    private readonly PriorityQueue<BlockEntry, long> _queue = new();

    private readonly long _began = time.GetTimestamp();

    /// <summary>
    /// Time since the queue was made, in ticks of 100 ns, plus one. It goes on whatever becomes of the wall clock: a clock that is set back
    /// makes no life longer.
    /// </summary>
    public long Now => time.GetElapsedTime(_began).Ticks + 1;

    /// <summary>The wall clock, in UTC ticks.</summary>
    public long UtcNow => time.GetUtcNow().UtcTicks;

    /// <summary>A deadline on the wall clock as it is now.</summary>
    public DateTimeOffset Utc(long deadline) =>
        new((long)Int128.Min((Int128)UtcNow + (deadline - Now), DateTime.MaxValue.Ticks), TimeSpan.Zero);

    /// <summary>When a duration that begins now is over; the end of time at the latest.</summary>
    public long After(TimeSpan duration) => (long)Int128.Min((Int128)Now + duration.Ticks, DateTime.MaxValue.Ticks);

    public void Add(BlockEntry entry, long due)
    {
        if (_queue.Count > AlwaysKept && _queue.Count > 4 * residents.Count)
            Rebuild();
        _queue.Enqueue(entry, due);
    }

    /// <summary>Takes the next resident block that has had a deadline until <paramref name="now"/>.</summary>
    public bool TryTakeDue(long now, [NotNullWhen(true)] out BlockEntry? entry)
    {
        while (_queue.TryPeek(out entry, out var due) && due <= now)
        {
            _queue.Dequeue();
            if (entry.State == BlockState.Sealed)
                return true;
        }

        entry = null;
        return false;
    }

    private void Rebuild()
    {
        _queue.Clear();
        foreach (var block in residents.Values)
        {
            if (block.ExpiresAt != long.MaxValue)
                _queue.Enqueue(block, block.ExpiresAt);
            if (block.PinnedUntil != 0)
                _queue.Enqueue(block, block.PinnedUntil);
        }
    }
}
