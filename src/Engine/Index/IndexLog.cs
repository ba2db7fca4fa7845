using System.Security.Cryptography;

namespace KvCache.Engine.Index;

/// <summary>
/// What this silo tells the others: numbered deltas, of which the last are kept. A reader that fell further behind needs a full copy.
/// </summary>
/// <remarks>
/// <para>A full copy and the log agree if the copy's number, <see cref="Next"/>, is read before the first block of the copy, and if
/// every change is made to the set of blocks that is copied before it is appended here. Then whatever the copy missed has a later
/// number.</para>
/// <para>All members are thread-safe. Appending takes a lock that only other appenders take; readers copy without it and
/// look afterwards whether they were overtaken.</para>
/// </remarks>
internal sealed class IndexLog
{
    /// <summary>Answer of <see cref="Read"/> when deltas were asked for that are not kept, or never were.</summary>
    public const int Gap = -1;

    /// <summary>Deltas kept by default: 4 MiB, the changes of about a second on a very busy silo.</summary>
    public const int DefaultCapacity = 65_536;

    private readonly Lock _lock = new();
    private readonly IndexDelta[] _ring;
    private readonly TimeProvider _time;
    private TaskCompletionSource? _news;
    private ulong _writing; // number after the one being written: its slot is not to be trusted
    private ulong _next;

    /// <summary>Creates an empty log with a new incarnation.</summary>
    /// <param name="capacity">Deltas kept, at least 1.</param>
    /// <param name="time">Clock of <see cref="Wait"/>; null for the system's.</param>
    public IndexLog(int capacity = DefaultCapacity, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _ring = new IndexDelta[capacity];
        _time = time ?? TimeProvider.System;
        Incarnation = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
    }

    /// <summary>Random id of this log. Numbers of another incarnation mean nothing here.</summary>
    public ulong Incarnation { get; }

    /// <summary>Number that the next delta will get; the first is 0.</summary>
    public ulong Next => Volatile.Read(ref _next);

    /// <summary>Appends a delta and wakes who waits for it. Short, and safe to call under another lock.</summary>
    /// <returns>Its number.</returns>
    public ulong Append(in IndexDelta delta)
    {
        ulong sequence;
        lock (_lock)
        {
            sequence = _next;
            _writing = sequence + 1;
            Volatile.WriteBarrier();
            _ring[sequence % (ulong)_ring.Length] = delta;
            Volatile.Write(ref _next, sequence + 1);
        }

        // The exchange is also the fence between "there is news" and "does somebody wait"; see Subscribe.
        Interlocked.Exchange(ref _news, null)?.TrySetResult();
        return sequence;
    }

    /// <summary>Copies deltas.</summary>
    /// <param name="from">Number of the first one wanted.</param>
    /// <param name="buffer">Receives them.</param>
    /// <param name="first">Number of the first one copied, or the oldest that is kept when the answer is <see cref="Gap"/>.</param>
    /// <returns>Deltas copied, 0 when there is no news, or <see cref="Gap"/>.</returns>
    public int Read(ulong from, Span<IndexDelta> buffer, out ulong first)
    {
        var capacity = (ulong)_ring.Length;
        var next = Next;
        first = from;
        if (from <= next && next - from <= capacity)
        {
            var count = (int)Math.Min(next - from, (ulong)buffer.Length);
            var start = (int)(from % capacity);
            var head = Math.Min(count, _ring.Length - start);
            _ring.AsSpan(start, head).CopyTo(buffer);
            _ring.AsSpan(0, count - head).CopyTo(buffer[head..]);
            Volatile.ReadBarrier();
            next = Volatile.Read(ref _writing);
            if (count == 0 || next - from <= capacity)
                return count;
        }

        first = next > capacity ? next - capacity : 0;
        return Gap;
    }

    /// <summary>Waits until there are deltas from a number on.</summary>
    /// <param name="from">Number of the first delta wanted.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public async ValueTask WaitAsync(ulong from, CancellationToken cancellationToken = default)
    {
        while (Subscribe(from) is { } news)
            await news.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Blocks the thread until there are deltas from a number on, or time is over.</summary>
    /// <param name="from">Number of the first delta wanted.</param>
    /// <param name="timeout">Longest wait.</param>
    /// <returns>False when time is over.</returns>
    public bool Wait(ulong from, TimeSpan timeout)
    {
        var start = _time.GetTimestamp();
        while (Subscribe(from) is { } news)
        {
            var left = timeout - _time.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
                return false;
            news.Wait(left);
        }

        return true;
    }

    private Task? Subscribe(ulong from)
    {
        if (Next > from)
            return null;
        var mine = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var news = Interlocked.CompareExchange(ref _news, mine, null) ?? mine;

        // Looked at again after subscribing: an append in between found nobody to wake.
        return Next > from ? null : news.Task;
    }
}
