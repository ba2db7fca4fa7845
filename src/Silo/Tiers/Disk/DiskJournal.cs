using System.Diagnostics;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// Writes down what has changed about blocks of complete segments, on a thread of its own, so that a disk which stands still stops nobody
/// who holds a lock. Whoever has to be sure waits, for a while.
/// </summary>
/// <remarks>A deletion is written into the changes of its segment, which counts, and in a quiet moment the head of the block is written over:
/// then two places would have to be lost for it to come back.</remarks>
internal sealed class DiskJournal : IDisposable
{
    private const int StackBytes = 256 * 1024;
    private static readonly TimeSpan FlushPause = TimeSpan.FromMilliseconds(200);

    private readonly object _gate = new();
    private readonly Queue<Change> _queue = [];
    private readonly Queue<(DiskSegment Segment, int Page)> _toErase = []; // the thread's
    private readonly HashSet<DiskSegment> _unflushed = [];
    private readonly Thread _thread;
    private readonly PageBuffer _zeros = new();
    private readonly Action<DiskSegment, IOException> _failed;
    private long _added, _written, _stuckAt = -1;
    private bool _stopping;

    /// <summary>Starts the thread.</summary>
    /// <param name="failed">Hears of a segment whose changes cannot be written: nothing of it may be found by another start.</param>
    public DiskJournal(Action<DiskSegment, IOException> failed)
    {
        _failed = failed;
        _zeros.Take(DiskSegment.PageBytes).Clear();
        _thread = new Thread(Run, StackBytes) { IsBackground = true, Name = "kvcache disk journal" };
        _thread.Start();
    }

    /// <summary>Has a change written. Waits for nothing.</summary>
    /// <param name="segment">A complete segment; null for what concerns none.</param>
    /// <param name="index">Number of the block.</param>
    /// <param name="page">Where its head is.</param>
    /// <param name="value">What has changed; see <see cref="SegmentChanges"/>.</param>
    public void Add(DiskSegment? segment, int index, int page, long value)
    {
        lock (_gate)
        {
            _queue.Enqueue(new Change(segment, index, page, value));
            _added++;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Waits until all that was added is with the system.</summary>
    /// <returns>False when time is over.</returns>
    public bool Wait(TimeSpan limit)
    {
        var deadline = Deadline.After(limit);
        lock (_gate)
        {
            var mine = _added;
            while (_written < mine && _stuckAt != _written && !deadline.Passed)
                Monitor.Wait(_gate, deadline.Left);
            if (_written >= mine)
                return true;
            _stuckAt = _written; // who comes next need not wait as long again
            return false;
        }
    }

    /// <summary>Whether all that was added is with the system.</summary>
    public bool IsIdle
    {
        get
        {
            lock (_gate)
                return _written == _added;
        }
    }

    /// <summary>Waits until the disk has all that was added.</summary>
    /// <returns>False when time is over.</returns>
    public bool Flush(TimeSpan limit)
    {
        Add(null, 0, 0, Change.Flush);
        return Wait(limit);
    }

    /// <summary>Ends the use of a segment's files, behind what was added.</summary>
    public void Close(DiskSegment segment) => Add(segment, 0, 0, Change.Close);

    /// <summary>Writes what waits, for a while, and ends the thread.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.PulseAll(_gate);
        }

        if (_thread.Join(TimeSpan.FromSeconds(2)))
            _zeros.Dispose();
    }

    private void Run()
    {
        var flushed = Stopwatch.GetTimestamp();
        while (true)
        {
            Change change;
            lock (_gate)
            {
                while (!_queue.TryDequeue(out change))
                {
                    if (_stopping)
                        return;
                    if (_toErase.Count > 0 || !Monitor.Wait(_gate, _unflushed.Count > 0 ? FlushPause : Timeout.InfiniteTimeSpan))
                        break;
                }
            }

            if (change.Segment is { } segment)
                Do(segment, change);
            else if (change.Value == Change.Flush)
                Flush();
            else if (_toErase.TryDequeue(out var head))
                Erase(head.Segment, head.Page);
            if (change.IsCounted)
                Count();
            if (Stopwatch.GetElapsedTime(flushed) > FlushPause)
            {
                Flush();
                flushed = Stopwatch.GetTimestamp();
            }
        }
    }

    private void Do(DiskSegment segment, Change change)
    {
        if (change.Value == Change.Close)
        {
            _unflushed.Remove(segment);
            segment.Dispose();
            return;
        }

        try
        {
            if (segment.IsRemoved)
                return;
            segment.Changes ??= SegmentChanges.Open(segment);
            segment.Changes.Set(change.Index, change.Value);
            _unflushed.Add(segment);
            if (change.Value == SegmentChanges.Gone)
                _toErase.Enqueue((segment, change.Page));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            _failed(segment, e as IOException ?? new IOException(e.Message, e));
        }
    }

    private void Erase(DiskSegment segment, int page)
    {
        try
        {
            if (!segment.IsRemoved)
                segment.File.Write([_zeros.Piece(0, DiskSegment.PageBytes)], (long)page * DiskSegment.PageBytes);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // Its change is written.
        }
    }

    private void Flush()
    {
        foreach (var segment in _unflushed)
        {
            try
            {
                segment.Changes?.Flush();
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                if (!segment.IsRemoved)
                    _failed(segment, e as IOException ?? new IOException(e.Message, e));
            }
        }

        _unflushed.Clear();
    }

    private void Count()
    {
        lock (_gate)
        {
            _written++;
            Monitor.PulseAll(_gate);
        }
    }

    private readonly record struct Change(DiskSegment? Segment, int Index, int Page, long Value)
    {
        public const long Close = long.MinValue, Flush = Close + 1;

        public bool IsCounted => Segment is not null || Value == Flush;
    }
}
