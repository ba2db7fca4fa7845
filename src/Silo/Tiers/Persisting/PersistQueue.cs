using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers.Persisting;

/// <summary>
/// Blocks on their way to Redis, bounded by bytes, and the deletions and changes of lives that overtake them.
/// </summary>
/// <remarks>
/// For one key only one thing happens at a time: a write waits until an earlier write, the deletions and the changes of its key are
/// through, a deletion removes queued writes and waits for the one that runs. So the last of them that was asked for is what Redis has in
/// the end. All members are thread-safe; outcomes are told outside of the lock.
/// </remarks>
internal sealed partial class PersistQueue(long maxBytes, int maxChanges, RedisHealth health, RedisTierCounters counters)
{
    // While items wait for Redis, or for another item, somebody has to notice that their time is over.
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    private readonly object _gate = new();
    private readonly LinkedList<PersistItem> _waiting = [];
    private readonly Dictionary<BlockKey, PersistItem> _writing = [];
    private readonly Dictionary<BlockKey, int> _items = []; // that wait or are written, by key
    private long _bytes;
    private bool _closed;
    private bool _stopped;

    /// <summary>Takes a block, or ends it at once when too many bytes wait.</summary>
    public void Add(PersistItem item)
    {
        PersistOutcome refusal;
        lock (_gate)
        {
            if (!_closed && (_bytes == 0 || _bytes + item.Bytes <= maxBytes))
            {
                Count(item, 1);
                _waiting.AddLast(item);
                Monitor.PulseAll(_gate);
                return;
            }

            refusal = _closed ? PersistOutcome.Stopped : PersistOutcome.QueueFull;
        }

        item.End(refusal, counters);
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
                EndOverdue(ended);
                if (!health.IsOpen)
                    next = TakeReady();
                if (next is null && ended.None)
                    Monitor.Wait(_gate, _waiting.Count > 0 ? Tick : Timeout.InfiniteTimeSpan);
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
        bool deleted, changesWait;
        lock (_gate)
        {
            _writing.Remove(item.Key);
            deleted = item.Deleted;
            changesWait = _deletes.ContainsKey(item.Key) || _lives.ContainsKey(item.Key);
            Monitor.PulseAll(_gate);
            again = again && !deleted && !_stopped;
            if (again)
                _waiting.AddFirst(item);
            else
                Count(item, -1);
        }

        if (!again)
            item.End(deleted ? PersistOutcome.Deleted : outcome, counters);
        if (changesWait)
            ChangesReady?.Invoke();
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
            while (_waiting.First is { } first)
                End(first, PersistOutcome.Stopped, ended);
            foreach (var change in _lives.Values)
                change.End(applied: null);
            _lives.Clear();
            Monitor.PulseAll(_gate);
        }

        ended.Tell(counters);
    }

    /// <summary>Whether a block waits to be written, or is just now.</summary>
    public bool IsUnderWay(BlockKey key)
    {
        lock (_gate)
            return _items.ContainsKey(key);
    }

    private void Count(PersistItem item, int more)
    {
        counters.QueuedBytes = _bytes += more * item.Bytes;
        counters.QueuedBlocks += more;
        if ((_items[item.Key] = _items.GetValueOrDefault(item.Key) + more) == 0)
            _items.Remove(item.Key);
    }

    private PersistItem? TakeReady()
    {
        for (var node = _waiting.First; node is not null; node = node.Next)
        {
            if (_deletes.ContainsKey(node.Value.Key) || _lives.ContainsKey(node.Value.Key) || !_writing.TryAdd(node.Value.Key, node.Value))
                continue;
            _waiting.Remove(node);
            return node.Value;
        }

        return null;
    }

    // All items have the same patience, so that the oldest one's ends first.
    private void EndOverdue(Endings ended)
    {
        while (_waiting.First is { } first && first.Value.GiveUp.Passed)
            End(first, PersistOutcome.Unavailable, ended);
    }

    private void End(LinkedListNode<PersistItem> node, PersistOutcome outcome, Endings ended)
    {
        _waiting.Remove(node);
        Count(node.Value, -1);
        ended.Add(node.Value, outcome);
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
