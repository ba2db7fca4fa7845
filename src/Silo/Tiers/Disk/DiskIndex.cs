using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>What is on the disk: blocks by key, and the segments that they lie in. Thread-safe; to look a block up takes no lock.</summary>
/// <remarks>What a start finds is kept apart until it is certain that none of it was deleted meanwhile (<see cref="Trust"/>): deletions
/// reach it, readers do not. Nothing here waits for the disk: what has to be written down is the <see cref="DiskJournal"/>'s.</remarks>
internal sealed class DiskIndex(DiskJournal journal, TimeProvider time) : IDisposable
{
    private const int MostAtOnce = 4096;

    // Before what was found can be read; with more it is dropped.
    private const int MostReplaced = 1 << 20;

    // The queue of ends is made anew when so many of it are gone.
    private const int MostEnded = 1024;

    // Of a tenant's part: at its border nobody's blocks are moved for ever.
    private const double ProtectedShare = 0.9;

    private readonly object _gate = new();
    private readonly ConcurrentDictionary<BlockKey, DiskBlock> _blocks = [];
    private readonly SortedDictionary<long, DiskSegment> _segments = [];
    private readonly PriorityQueue<DiskBlock, long> _ends = new();
    private readonly Dictionary<BlockKey, ulong> _replaced = []; // before what was found can be read: the generation that counts
    private readonly Dictionary<TenantId, long> _pagesOf = [];
    private Dictionary<BlockKey, DiskBlock>? _found = [];
    private bool _isLoaded;
    private long _bytes, _livePages;

    /// <summary>Blocks that can be read.</summary>
    public int Count => _blocks.Count;

    /// <summary>Bytes of all files.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Bytes of the blocks that are not gone.</summary>
    public long LiveBytes => Volatile.Read(ref _livePages) * DiskSegment.PageBytes;

    /// <summary>Whether what the start has found can be read.</summary>
    public bool IsTrusted => Volatile.Read(ref _found) is null;

    /// <summary>Files.</summary>
    public int Segments
    {
        get
        {
            lock (_gate)
                return _segments.Count;
        }
    }

    /// <summary>The block of a key that can be read, or null.</summary>
    public DiskBlock? Find(BlockKey key) =>
        _blocks.TryGetValue(key, out var block) && !Volatile.Read(ref block.IsGone) && !block.IsOver(time.GetUtcNow()) ? block : null;

    /// <summary>Whether all that a start finds is in here. Before, what is deleted may lie on the disk.</summary>
    public bool IsLoaded => Volatile.Read(ref _isLoaded);

    /// <summary>Whether a block was found by the start, or may be yet, and nobody knows whether it was deleted meanwhile.</summary>
    public bool IsDoubtful(BlockKey key)
    {
        if (IsTrusted)
            return false;
        lock (_gate)
            return !_isLoaded || _found?.ContainsKey(key) == true;
    }

    /// <summary>All that the start finds was added.</summary>
    public void Loaded()
    {
        lock (_gate)
            _isLoaded = true;
    }

    /// <summary>Adds a block that is about to be written. Another generation of it is dropped.</summary>
    public void Add(DiskBlock block)
    {
        lock (_gate)
        {
            DropOther(block.Key, block.Generation);
            _blocks[block.Key] = block;
            Watch(block);
        }
    }

    /// <summary>Takes over a segment that a start has found.</summary>
    public void AddFound(DiskSegment segment)
    {
        lock (_gate)
        {
            _segments.Add(segment.Number, segment);
            _bytes += segment.Bytes;
            foreach (var block in segment.Blocks)
            {
                if (block.IsGone || _found is null)
                    continue;

                // Of two that were moved from one segment to another just before the end, one is enough.
                if (_found.TryGetValue(block.Key, out var other))
                {
                    if (other.Generation > block.Generation)
                    {
                        block.IsGone = true;
                        continue;
                    }

                    Forget(other, isWritten: true);
                }

                _found[block.Key] = block;
                CountPages(block, segment, 1);
            }
        }
    }

    /// <summary>Lets the blocks that the start has found be read, as far as they may live.</summary>
    /// <param name="mayLive">Says which.</param>
    /// <returns>Keys that can be read now, and segments that have none.</returns>
    public (List<BlockKey> Readable, List<DiskSegment> Empty) Trust(Func<DiskBlock, bool> mayLive)
    {
        var readable = new List<BlockKey>();
        var dead = new List<DiskBlock>();
        List<DiskBlock> found;
        lock (_gate)
            found = _found is null ? [] : [.. _found.Values];
        foreach (var some in found.Chunk(MostAtOnce))
        {
            lock (_gate)
            {
                foreach (var block in some)
                {
                    if (block.IsGone)
                        continue;
                    if (!mayLive(block) || _replaced.Count > MostReplaced
                        || (_replaced.TryGetValue(block.Key, out var counts) && counts != block.Generation)
                        || !_blocks.TryAdd(block.Key, block))
                    {
                        Forget(block, isWritten: false);
                        dead.Add(block);
                        continue;
                    }

                    _found!.Remove(block.Key);
                    Watch(block);
                    readable.Add(block.Key);
                }
            }
        }

        lock (_gate)
        {
            _found = null;
            _replaced.Clear();
            foreach (var block in dead.Where(block => block.Segment!.LivePages > 0))
                WriteDown(block, SegmentChanges.Gone);
            return (readable, [.. _segments.Values.Where(segment => segment is { IsComplete: true, LivePages: 0 })]);
        }
    }

    /// <summary>Takes in a segment that is about to be written.</summary>
    public void Add(DiskSegment segment)
    {
        lock (_gate)
        {
            _segments.Add(segment.Number, segment);
            _bytes += segment.Bytes;
        }
    }

    /// <summary>A block lies in a segment.</summary>
    public void Written(DiskBlock block, DiskSegment segment, int page)
    {
        lock (_gate)
        {
            block.Index = segment.Blocks.Count;
            block.Page = page;
            block.Segment = segment;
            segment.Blocks.Add(block);
            if (!block.IsGone)
                CountPages(block, segment, 1);
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>A block was copied into another segment.</summary>
    public void Moved(DiskBlock block, DiskSegment segment, int page)
    {
        lock (_gate)
        {
            if (block.IsGone)
                return;
            CountPages(block, block.Segment!, -1);
            block.WasRead = false;
            Written(block, segment, page);
        }
    }

    /// <summary>Waits until a block is on the disk.</summary>
    /// <returns>False when it is gone, or time is over.</returns>
    public bool WaitUntilWritten(DiskBlock block, Deadline deadline, [NotNullWhen(true)] out DiskSegment? segment, out int page)
    {
        lock (_gate)
        {
            while (block is { Segment: null, IsGone: false } && !deadline.Passed)
                Monitor.Wait(_gate, deadline.Left);
            (segment, page) = (block.Segment, block.Page);
            block.WasRead = true;
            return !block.IsGone && segment is not null;
        }
    }

    /// <summary>Ends a segment: what changes from now on is written down beside it.</summary>
    /// <returns>Its blocks that are not gone.</returns>
    public List<DiskBlock> Complete(DiskSegment segment)
    {
        lock (_gate)
        {
            segment.IsComplete = true;
            segment.Slots = segment.Blocks.Count;
            return segment.Blocks.FindAll(block => !block.IsGone && block.Segment == segment);
        }
    }

    /// <summary>A segment was cut off behind its last byte.</summary>
    public void Resized(DiskSegment segment, long bytes)
    {
        lock (_gate)
        {
            if (!_segments.ContainsKey(segment.Number))
                return;
            _bytes += bytes - segment.Bytes;
            segment.Bytes = bytes;
        }
    }

    /// <summary>The complete segment that is worth least: the oldest, or one that is mostly gone.</summary>
    public DiskSegment? Least()
    {
        lock (_gate)
        {
            DiskSegment? oldest = null, emptiest = null;
            foreach (var segment in _segments.Values)
            {
                if (!segment.IsComplete)
                    continue;
                oldest ??= segment;
                if (emptiest is null || segment.LivePages < emptiest.LivePages)
                    emptiest = segment;
            }

            return emptiest is not null && 4 * emptiest.LivePages < emptiest.Pages ? emptiest : oldest;
        }
    }

    /// <summary>Blocks of a segment that are worth keeping: those that were read since they were written, and those of tenants that have
    /// less than their part of the disk.</summary>
    /// <param name="segment">The segment.</param>
    /// <param name="partOf">A tenant's part, 0 to 1.</param>
    public List<DiskBlock> Hot(DiskSegment segment, Func<TenantId, double> partOf)
    {
        lock (_gate)
        {
            return segment.Blocks.FindAll(block => !block.IsGone && block.Segment == segment
                && (block.WasRead || IsProtected(block.Key.Namespace.Tenant, partOf)));
        }
    }

    /// <summary>Reads the first page of a segment, if there is one.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void TryToRead()
    {
        DiskSegment? segment;
        lock (_gate)
            segment = _segments.Values.FirstOrDefault(some => some.IsComplete);
        if (segment is null)
            return;
        using var page = new PageBuffer();
        page.Take(DiskSegment.PageBytes);
        try
        {
            segment.File.Read([page.Piece(0, DiskSegment.PageBytes)], 0);
        }
        catch (ObjectDisposedException)
        {
            // It went meanwhile.
        }
    }

    /// <summary>Forgets a segment and all that lies in it.</summary>
    /// <returns>Keys that cannot be read any more.</returns>
    public List<BlockKey> Remove(DiskSegment segment)
    {
        var keys = new List<BlockKey>();
        lock (_gate)
        {
            if (!_segments.Remove(segment.Number))
                return keys;
            _bytes -= segment.Bytes;
            foreach (var block in segment.Blocks)
            {
                if (block.IsGone || block.Segment != segment)
                    continue;
                if (_found?.Remove(block.Key) != true)
                    keys.Add(block.Key);
                Forget(block, isWritten: false);
            }
        }

        journal.Close(segment);
        return keys;
    }

    /// <summary>Drops a block.</summary>
    /// <returns>False when it was gone.</returns>
    public bool Drop(DiskBlock block)
    {
        lock (_gate)
            return Forget(block, isWritten: true);
    }

    /// <summary>Drops every generation of a block below a stamp, found ones included.</summary>
    /// <returns>Whether there was one, for readers.</returns>
    public bool Bury(BlockKey key, ulong stamp)
    {
        if (!_blocks.ContainsKey(key) && IsTrusted)
            return false;
        lock (_gate)
        {
            if (_found is not null && _found.TryGetValue(key, out var found) && found.Generation < stamp)
                Forget(found, isWritten: true);
            return _blocks.TryGetValue(key, out var block) && block.Generation < stamp && Forget(block, isWritten: true);
        }
    }

    /// <summary>Drops what is on the disk of a block but for one generation.</summary>
    public void DropOther(BlockKey key, ulong generation)
    {
        if (!_blocks.ContainsKey(key) && IsTrusted)
            return;
        lock (_gate)
        {
            if (_found is not null && _replaced.Count <= MostReplaced)
                _replaced[key] = generation;
            if (_found is not null && _found.TryGetValue(key, out var found) && found.Generation != generation)
                Forget(found, isWritten: true);
            if (_blocks.TryGetValue(key, out var block) && block.Generation != generation)
                Forget(block, isWritten: true);
        }
    }

    /// <summary>Sets the end of a block's life.</summary>
    /// <param name="key">The block.</param>
    /// <param name="expiresAt">Unix milliseconds; 0 for none.</param>
    /// <returns>Whether it is here.</returns>
    public bool SetLife(BlockKey key, long expiresAt)
    {
        if (!_blocks.ContainsKey(key) && IsTrusted)
            return false;
        lock (_gate)
        {
            var block = Find(key) ?? _found?.GetValueOrDefault(key);
            if (block is null || block.IsGone)
                return false;
            block.ExpiresAt = expiresAt;
            Watch(block);
            WriteDown(block, expiresAt);
            return true;
        }
    }

    /// <summary>Drops blocks whose life is over.</summary>
    /// <returns>Their keys; as many as given at most.</returns>
    public List<BlockKey> Expire(int most)
    {
        var keys = new List<BlockKey>();
        var now = time.GetUtcNow();
        lock (_gate)
        {
            while (keys.Count < most && _ends.TryPeek(out var block, out var end) && end <= now.ToUnixTimeMilliseconds())
            {
                _ends.Dequeue();
                if (block.IsGone || !block.IsOver(now))
                    continue;
                Forget(block, isWritten: false); // its table says when it ends
                keys.Add(block.Key);
            }
        }

        return keys;
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var segment in _segments.Values)
                journal.Close(segment);
        }
    }

    // Under the lock, like everything below.
    private bool Forget(DiskBlock block, bool isWritten)
    {
        if (block.IsGone)
            return false;
        Volatile.Write(ref block.IsGone, true);
        _blocks.TryRemove(KeyValuePair.Create(block.Key, block));
        if (_found is not null && _found.TryGetValue(block.Key, out var found) && found == block)
            _found.Remove(block.Key);
        Monitor.PulseAll(_gate);
        if (block.Segment is not { } segment)
            return true;
        CountPages(block, segment, -1);
        if (isWritten)
            WriteDown(block, SegmentChanges.Gone);
        return true;
    }

    // Before its table is written, that says it.
    private void WriteDown(DiskBlock block, long change)
    {
        if (block.Segment is { IsComplete: true } segment)
            journal.Add(segment, block.Index, block.Page, change);
    }

    private void CountPages(DiskBlock block, DiskSegment segment, int sign)
    {
        var pages = (long)sign * block.TotalPages(segment.IsSealedByKey);
        segment.LivePages += pages;
        _livePages += pages;
        ref var own = ref CollectionsMarshal.GetValueRefOrAddDefault(_pagesOf, block.Key.Namespace.Tenant, out _);
        own += pages;
        if (own == 0)
            _pagesOf.Remove(block.Key.Namespace.Tenant);
    }

    // Whether somebody has more than his part, and this one less: then the former's blocks go first.
    private bool IsProtected(TenantId tenant, Func<TenantId, double> partOf) =>
        _pagesOf.Count > 1 && _pagesOf.GetValueOrDefault(tenant) < ProtectedShare * partOf(tenant) * _livePages;

    private void Watch(DiskBlock block)
    {
        if (block.ExpiresAt == 0)
            return;
        if (_ends.Count > MostEnded + (2 * (_blocks.Count + (_found?.Count ?? 0))))
        {
            _ends.Clear(); // most of it is gone, or has another end
            foreach (var living in _blocks.Values)
            {
                if (living.ExpiresAt != 0)
                    _ends.Enqueue(living, living.ExpiresAt);
            }
        }

        _ends.Enqueue(block, block.ExpiresAt);
    }
}
