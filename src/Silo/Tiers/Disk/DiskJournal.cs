using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// Writes down what has changed about blocks of complete segments, on a thread of its own, so that a disk which stands still stops nobody
/// who holds a lock. Whoever has to be sure waits, for a while. </summary>
/// <remarks>A deletion is appended to the changes of its segment, and then the head of the block is written over: two places that would
/// both have to be lost for it to come back.</remarks>
internal sealed class DiskJournal : IDisposable
{
    private const int StackBytes = 256 * 1024;
    private static readonly TimeSpan FlushPause = TimeSpan.FromMilliseconds(200);

    private readonly object _gate = new();
    private readonly Queue<Change> _queue = [];
    private readonly HashSet<DiskSegment> _unflushed = [];
    private readonly Thread _thread;
    private readonly PageBuffer _zeros = new();
    private readonly Action<DiskSegment, IOException> _failed;
    private long _added, _written;
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
    /// <param name="segment">A complete segment.</param>
    /// <param name="index">Number of the block.</param>
    /// <param name="page">Where its head is.</param>
    /// <param name="value">What has changed; see <see cref="SegmentChanges"/>.</param>
    public void Add(DiskSegment segment, int index, int page, long value)
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
            while (_written < mine && !deadline.Passed)
                Monitor.Wait(_gate, deadline.Left);
            return _written >= mine;
        }
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
        while (true)
        {
            Change change;
            lock (_gate)
            {
                while (!_queue.TryDequeue(out change))
                {
                    if (_stopping)
                        return;
                    if (!Monitor.Wait(_gate, _unflushed.Count > 0 ? FlushPause : Timeout.InfiniteTimeSpan) && _queue.Count == 0)
                        break;
                }
            }

            if (change.Segment is not { } segment)
                Flush();
            else if (change.Value == Change.Close)
                End(segment);
            else
                Write(segment, change);
        }
    }

    private void Write(DiskSegment segment, Change change)
    {
        try
        {
            if (!segment.IsRemoved)
            {
                segment.Changes ??= SegmentChanges.Open(segment);
                segment.Changes.Add(change.Index, change.Value);
                _unflushed.Add(segment);
                if (change.Value == SegmentChanges.Gone)
                    segment.File.Write([_zeros.Piece(0, DiskSegment.PageBytes)], (long)change.Page * DiskSegment.PageBytes);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            _failed(segment, e as IOException ?? new IOException(e.Message, e));
        }
        finally
        {
            Count();
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

    private void End(DiskSegment segment)
    {
        _unflushed.Remove(segment);
        segment.Dispose();
        Count();
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
        public const long Close = long.MinValue;
    }
}
