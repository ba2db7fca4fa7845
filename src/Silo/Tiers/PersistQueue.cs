namespace KvCache.Silo;

/// <summary>
/// Blocks on their way to Redis, bounded by bytes, and the deletions that overtake them.
/// </summary>
/// <remarks>
/// For one key only one thing happens at a time: a write waits until an earlier write and the deletions of its key are through, a
/// deletion removes queued writes and waits for the one that runs. So the last of them that was asked for is what Redis has in the end.
/// All members are thread-safe; outcomes are told outside of the lock.
/// </remarks>
internal sealed class PersistQueue(long maxBytes, int maxDeletes, RedisHealth health, RedisTierCounters counters)
{
    // While items wait for Redis, or for another item, somebody has to notice that their time is over.
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    private readonly object _gate = new();
    private readonly LinkedList<PersistItem> _through = [];
    private readonly LinkedList<PersistItem> _behind = [];
    private readonly Dictionary<BlockKey, PersistItem> _writing = [];
    private readonly Dictionary<BlockKey, List<DeleteBatch>> _deletes = [];
    private long _bytes;
    private bool _closed;
    private bool _stopped;

    /// <summary>Called, without the lock, when there may be deletions to be executed.</summary>
    public Action? DeletesReady { get; set; }

    /// <summary>Takes a block, or ends it at once when too many bytes wait.</summary>
    public void Add(PersistItem item)
    {
        var ended = new Endings();
        lock (_gate)
        {
            if (item.Through)
                Displace(item.Bytes, ended);
            if (_closed)
                ended.Add(item, PersistOutcome.Stopped);
            else if (!Fits(item.Bytes))
                ended.Add(item, PersistOutcome.QueueFull);
            else
            {
                Count(item.Bytes);
                (item.Through ? _through : _behind).AddLast(item);
                Monitor.PulseAll(_gate);
            }
        }

        ended.Tell(counters);
    }

    /// <summary>Waits for a block that can be written now. It must be given back by <see cref="Finish"/>.</summary>
    /// <returns>Null when the queue was stopped.</returns>
    public PersistItem? Take()
    {
        while (true)
        {
            var ended = new Endings();
            PersistItem? next = null;
            lock (_gate)
            {
                if (_stopped)
                    return null;
                EndOverdue(_through, ended, all: health.IsOpen);
                EndOverdue(_behind, ended, all: false);
                if (!health.IsOpen)
                    next = TakeReady(_through) ?? TakeReady(_behind);
                if (next is null && ended.None)
                    Monitor.Wait(_gate, _through.Count + _behind.Count > 0 ? Tick : Timeout.InfiniteTimeSpan);
            }

            ended.Tell(counters);
            if (next is not null)
                return next;
        }
    }

    /// <summary>Ends a block that was taken.</summary>
    /// <param name="item">The block.</param>
    /// <param name="outcome">What became of it.</param>
    /// <param name="again">Puts it back to the front, if it may still be written.</param>
    public void Finish(PersistItem item, PersistOutcome outcome, bool again)
    {
        bool deleted;
        lock (_gate)
        {
            _writing.Remove(item.Key);
            deleted = item.Deleted;
            Monitor.PulseAll(_gate);
            if (again && !deleted && !_stopped)
            {
                _behind.AddFirst(item);
                return;
            }

            Count(-item.Bytes);
        }

        item.End(deleted ? PersistOutcome.Deleted : outcome, counters);
        if (deleted)
            DeletesReady?.Invoke();
    }

    /// <summary>Forbids the blocks: queued writes end, one that runs is marked, and Redis is to delete them.</summary>
    /// <returns>False when too many deletions wait; then nothing is deleted in Redis, but no write is left either.</returns>
    public bool Delete(DeleteBatch batch)
    {
        var ended = new Endings();
        bool accepted;
        lock (_gate)
        {
            Remove(_through, batch, ended);
            Remove(_behind, batch, ended);
            foreach (var key in batch.Keys)
            {
                if (_writing.TryGetValue(key, out var item))
                    item.Deleted = true;
            }

            accepted = !_stopped && _deletes.Count + batch.Keys.Count <= maxDeletes;
            if (accepted)
            {
                foreach (var key in batch.Keys)
                {
                    if (!_deletes.TryGetValue(key, out var waiters))
                        _deletes.Add(key, waiters = []);
                    waiters.Add(batch);
                }
            }
        }

        ended.Tell(counters);
        DeletesReady?.Invoke();
        return accepted;
    }

    /// <summary>Whether a block is being deleted: nothing of it may be read from Redis now.</summary>
    public bool IsDeleting(BlockKey key)
    {
        lock (_gate)
            return _deletes.ContainsKey(key);
    }

    /// <summary>Deletions that can be executed now.</summary>
    /// <param name="keys">Receives at most <paramref name="count"/> keys.</param>
    /// <param name="count">Most keys.</param>
    public void PeekDeletes(List<BlockKey> keys, int count)
    {
        lock (_gate)
            keys.AddRange(_deletes.Keys.Where(key => !_writing.ContainsKey(key)).Take(count));
    }

    /// <summary>Redis has executed deletions.</summary>
    public void FinishDeletes(List<BlockKey> keys)
    {
        lock (_gate)
        {
            foreach (var key in keys)
            {
                if (!_deletes.Remove(key, out var waiters))
                    continue;
                foreach (var batch in waiters)
                    batch.Confirm();
            }

            Monitor.PulseAll(_gate);
        }

        counters.Deleted(keys.Count);
    }

    /// <summary>Takes nothing more, and waits until what is there is written.</summary>
    /// <returns>False when that took longer than the limit, or Redis is away.</returns>
    public bool Drain(Deadline limit)
    {
        lock (_gate)
        {
            _closed = true;
            while (_bytes > 0 && !limit.Passed && !health.IsOpen)
                Monitor.Wait(_gate, Tick);
            return _bytes == 0;
        }
    }

    /// <summary>Ends everything that waits.</summary>
    public void Stop()
    {
        var ended = new Endings();
        lock (_gate)
        {
            _closed = _stopped = true;
            foreach (var item in _through.Concat(_behind))
            {
                Count(-item.Bytes);
                ended.Add(item, PersistOutcome.Stopped);
            }

            _through.Clear();
            _behind.Clear();
            Monitor.PulseAll(_gate);
        }

        ended.Tell(counters);
    }

    private bool Fits(long bytes) => _bytes == 0 || _bytes + bytes <= maxBytes;

    private void Count(long bytes) => counters.QueuedBytes = _bytes += bytes;

    // Somebody waits for the newcomer and nobody for these. The youngest go: they are the ones that are over the limit.
    private void Displace(long bytes, Endings ended)
    {
        while (!Fits(bytes) && _behind.Last is { } last)
        {
            _behind.RemoveLast();
            Count(-last.Value.Bytes);
            ended.Add(last.Value, PersistOutcome.QueueFull);
        }
    }

    private PersistItem? TakeReady(LinkedList<PersistItem> list)
    {
        for (var node = list.First; node is not null; node = node.Next)
        {
            if (_deletes.ContainsKey(node.Value.Key) || !_writing.TryAdd(node.Value.Key, node.Value))
                continue;
            list.Remove(node);
            return node.Value;
        }

        return null;
    }

    // All items of a list have the same patience, so that the oldest one's ends first.
    private void EndOverdue(LinkedList<PersistItem> list, Endings ended, bool all)
    {
        while (list.First is { } first && (all || first.Value.GiveUp.Passed))
        {
            list.RemoveFirst();
            Count(-first.Value.Bytes);
            ended.Add(first.Value, PersistOutcome.Unavailable);
        }
    }

    private void Remove(LinkedList<PersistItem> list, DeleteBatch batch, Endings ended)
    {
        for (var node = list.First; node is not null;)
        {
            var next = node.Next;
            if (batch.Keys.Contains(node.Value.Key))
            {
                list.Remove(node);
                Count(-node.Value.Bytes);
                ended.Add(node.Value, PersistOutcome.Deleted);
            }

            node = next;
        }
    }

    /// <summary>Items that ended under the lock, to be told when it is released.</summary>
    private sealed class Endings
    {
        private List<(PersistItem Item, PersistOutcome Outcome)>? _items;

        public bool None => _items is null;

        public void Add(PersistItem item, PersistOutcome outcome) => (_items ??= []).Add((item, outcome));

        public void Tell(RedisTierCounters counters) => _items?.ForEach(ended => ended.Item.End(ended.Outcome, counters));
    }
}
