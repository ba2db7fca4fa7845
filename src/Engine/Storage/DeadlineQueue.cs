using System.Diagnostics.CodeAnalysis;
using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <summary>
/// The next deadline of each block that has one, its expiry or the end of its pin, soonest first: a binary heap in which every block knows
/// its place, so that a new deadline replaces the old one in O(log n).
/// </summary>
internal sealed class DeadlineQueue(TimeProvider time)
{
    private readonly long _began = time.GetTimestamp();
    private PagedArray<(long Due, BlockEntry Entry)> _heap = new(16);
    private int _count;

    /// <summary>
    /// Time since the queue was made, in ticks of 100 ns, plus one. It goes on whatever becomes of the wall clock: a clock that is set back
    /// makes no life longer.
    /// </summary>
    public long Now => time.GetElapsedTime(_began).Ticks + 1;

    /// <summary>The same in milliseconds.</summary>
    public long NowMilliseconds => Now / TimeSpan.TicksPerMillisecond;

    /// <summary>When the store's lock was taken: the time of all that is done under it, since a clock costs as much as a change.</summary>
    public long Entered { get; private set; }

    /// <summary>The same in milliseconds.</summary>
    public long EnteredMilliseconds => Entered / TimeSpan.TicksPerMillisecond;

    /// <summary>The store's lock was taken.</summary>
    public void Enter() => Entered = Now;

    /// <summary>The wall clock, in UTC ticks.</summary>
    public long UtcNow => time.GetUtcNow().UtcTicks;

    /// <summary>A deadline on the wall clock as it is now.</summary>
    public DateTimeOffset Utc(long deadline) =>
        new((long)Int128.Min((Int128)UtcNow + (deadline - Now), DateTime.MaxValue.Ticks), TimeSpan.Zero);

    /// <summary>When a duration that begins now is over; the end of time at the latest.</summary>
    public long After(TimeSpan duration) => (long)Int128.Min((Int128)Now + duration.Ticks, DateTime.MaxValue.Ticks);

    /// <summary>Takes notice of the deadlines that a block has now, if any.</summary>
    public void Update(BlockEntry entry)
    {
        var due = Math.Min(entry.ExpiresAt, entry.PinnedUntil == 0 ? long.MaxValue : entry.PinnedUntil);
        if (due == long.MaxValue)
        {
            Remove(entry);
            return;
        }

        if (entry.Deadline < 0)
        {
            if (_count == _heap.Length)
                _heap.Grow(_heap.NextLength);
            entry.Deadline = _count++;
        }

        Settle(entry.Deadline, (due, entry));
    }

    /// <summary>Forgets a block.</summary>
    public void Remove(BlockEntry entry)
    {
        var at = entry.Deadline;
        if (at < 0)
            return;
        entry.Deadline = -1;
        var last = _heap[--_count];
        _heap[_count] = default;
        if (at < _count)
            Settle(at, last);
    }

    /// <summary>A block one of whose deadlines has come; it stays in the queue until it is updated or removed.</summary>
    public bool TryPeekDue(long now, [NotNullWhen(true)] out BlockEntry? entry)
    {
        entry = _count > 0 && _heap[0].Due <= now ? _heap[0].Entry : null;
        return entry is not null;
    }

    private void Settle(int at, (long Due, BlockEntry Entry) item)
    {
        while (at > 0 && _heap[(at - 1) / 2].Due > item.Due)
        {
            Place(at, _heap[(at - 1) / 2]);
            at = (at - 1) / 2;
        }

        for (int child; (child = (2 * at) + 1) < _count; at = child)
        {
            if (child + 1 < _count && _heap[child + 1].Due < _heap[child].Due)
                child++;
            if (_heap[child].Due >= item.Due)
                break;
            Place(at, _heap[child]);
        }

        Place(at, item);
    }

    private void Place(int at, (long Due, BlockEntry Entry) item)
    {
        _heap[at] = item;
        item.Entry.Deadline = at;
    }
}
