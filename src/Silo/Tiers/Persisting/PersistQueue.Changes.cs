namespace KvCache.Silo.Tiers.Persisting;

/// <content>Deletions, and changes of when a life ends. Both are small, and are kept while Redis is away.</content>
internal sealed partial class PersistQueue
{
    private readonly Dictionary<BlockKey, List<DeleteBatch>> _deletes = [];
    private readonly Dictionary<BlockKey, LifeChange> _lives = [];

    /// <summary>Called, without the lock, when there may be deletions or changes to be executed.</summary>
    public Action? ChangesReady { get; set; }

    /// <summary>Forbids the blocks: queued writes end, one that runs is marked, and Redis is to delete them.</summary>
    /// <returns>False when too many changes wait; then nothing is deleted in Redis, but no write is left either.</returns>
    public bool Delete(DeleteBatch batch)
    {
        var ended = new Endings();
        bool accepted;
        lock (_gate)
        {
            for (var node = _waiting.First; node is not null;)
            {
                var next = node.Next;
                if (batch.Keys.Contains(node.Value.Key))
                    End(node, PersistOutcome.Deleted, ended);
                node = next;
            }

            accepted = !_stopped && HasRoom(batch.Keys.Count);
            foreach (var key in batch.Keys)
            {
                if (_writing.TryGetValue(key, out var item))
                    item.Deleted = true;
                if (_lives.Remove(key, out var change))
                    change.End(applied: false);
                if (!accepted)
                    continue;
                if (!_deletes.TryGetValue(key, out var waiters))
                    _deletes.Add(key, waiters = []);
                waiters.Add(batch);
            }

            CountChanges();
        }

        ended.Tell(counters);
        ChangesReady?.Invoke();
        return accepted;
    }

    /// <summary>Changes when the life of a block ends: of a write that waits or runs, and of what Redis has.</summary>
    /// <returns>The change; null when the block is being deleted, or too many changes wait.</returns>
    public LifeChange? Expire(BlockKey key, long expiresAt)
    {
        LifeChange change;
        lock (_gate)
        {
            if (_stopped || _deletes.ContainsKey(key) || !(_lives.ContainsKey(key) || HasRoom(1)))
                return null;
            if (_items.ContainsKey(key))
            {
                foreach (var item in _waiting.Where(item => item.Key == key))
                    item.ExpiresAt = expiresAt;
            }

            // It may be sent with the old life already, or may be sent once more.
            if (_writing.TryGetValue(key, out var running))
                running.ExpiresAt = expiresAt;
            change = new LifeChange(key, expiresAt, _lives.GetValueOrDefault(key));
            _lives[key] = change;
            CountChanges();
        }

        ChangesReady?.Invoke();
        return change;
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

            CountChanges();
            Monitor.PulseAll(_gate);
        }

        counters.Deleted(keys.Count);
    }

    /// <summary>Changes of lives that can be executed now.</summary>
    /// <param name="changes">Receives at most <paramref name="count"/> changes.</param>
    /// <param name="count">Most changes.</param>
    public void PeekLives(List<LifeChange> changes, int count)
    {
        lock (_gate)
            changes.AddRange(_lives.Values.Where(change => !_writing.ContainsKey(change.Key)).Take(count));
    }

    /// <summary>Redis has executed a change, or refused it for good.</summary>
    /// <param name="change">The change; one that came for its block meanwhile is still to be executed.</param>
    /// <param name="applied">Whether Redis has the block, and it lives as long as the change says; null when that was refused.</param>
    public void FinishLife(LifeChange change, bool? applied)
    {
        lock (_gate)
        {
            if (!_lives.TryGetValue(change.Key, out var latest) || latest != change)
                return;
            _lives.Remove(change.Key);
            CountChanges();
            Monitor.PulseAll(_gate);
        }

        change.End(applied);
    }

    private bool HasRoom(int changes) => _deletes.Count + _lives.Count + changes <= maxChanges;

    private void CountChanges() => counters.PendingChanges = _deletes.Count + _lives.Count;
}
