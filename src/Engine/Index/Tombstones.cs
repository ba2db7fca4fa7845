namespace KvCache.Engine.Index;

/// <summary>
/// Deleted blocks: key → first generation that may live. It keeps late copies, written behind or read back, from bringing a deleted
/// block to life again.
/// </summary>
/// <remarks>Thread-safe. Asking costs nothing while there are no tombstones.</remarks>
internal sealed class Tombstones
{
    /// <summary>How long a tombstone is kept by default: longer than any write is under way.</summary>
    public static readonly TimeSpan DefaultLifetime = TimeSpan.FromMinutes(10);

    /// <summary>Most tombstones by default, about 20 MiB.</summary>
    public const int DefaultCapacity = 131_072;

    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, LinkedListNode<Tombstone>> _byKey = [];
    private readonly LinkedList<Tombstone> _byAge = [];
    private readonly TimeProvider _time;
    private readonly TimeSpan _lifetime;
    private readonly int _capacity;
    private int _count;

    /// <summary>Creates an empty set.</summary>
    /// <param name="lifetime">How long a tombstone is kept; null for <see cref="DefaultLifetime"/>.</param>
    /// <param name="capacity">Most tombstones; past it the oldest go.</param>
    /// <param name="time">Clock; null for the system's.</param>
    public Tombstones(TimeSpan? lifetime = null, int capacity = DefaultCapacity, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _lifetime = lifetime ?? DefaultLifetime;
        _capacity = capacity;
        _time = time ?? TimeProvider.System;
    }

    /// <summary>Tombstones kept, expired ones included until the next call.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Declares every generation of a block below the stamp dead.</summary>
    /// <returns>False when that was known already; it does not extend the tombstone's life.</returns>
    public bool Bury(BlockKey key, ulong stamp)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            Expire(now);
            if (_byKey.TryGetValue(key, out var node))
            {
                if (node.Value.Stamp >= stamp)
                    return false;
                _byAge.Remove(node);
            }
            else
            {
                if (_byKey.Count == _capacity)
                    RemoveOldest();
                node = new LinkedListNode<Tombstone>(default);
                _byKey.Add(key, node);
            }

            node.Value = new Tombstone(key, stamp, now);
            _byAge.AddLast(node);
            Volatile.Write(ref _count, _byKey.Count);
            return true;
        }
    }

    /// <summary>Whether a generation of a block was deleted.</summary>
    public bool IsDead(BlockKey key, ulong generation)
    {
        if (Count == 0)
            return false;
        lock (_lock)
        {
            Expire(_time.GetTimestamp());
            return _byKey.TryGetValue(key, out var node) && generation < node.Value.Stamp;
        }
    }

    /// <summary>Copies all tombstones, oldest first, as <see cref="IndexOperation.Deleted"/>: a snapshot carries them.</summary>
    public void CopyTo(ICollection<IndexDelta> deltas)
    {
        if (Count == 0)
            return;
        lock (_lock)
        {
            Expire(_time.GetTimestamp());
            foreach (var tombstone in _byAge)
                deltas.Add(new IndexDelta(IndexOperation.Deleted, tombstone.Key, tombstone.Stamp));
        }
    }

    // All live equally long, so the oldest expire first.
    private void Expire(long now)
    {
        while (_byAge.First is { } oldest && _time.GetElapsedTime(oldest.Value.Buried, now) >= _lifetime)
            RemoveOldest();
    }

    private void RemoveOldest()
    {
        _byKey.Remove(_byAge.First!.Value.Key);
        _byAge.RemoveFirst();
        Volatile.Write(ref _count, _byKey.Count);
    }

    private readonly record struct Tombstone(BlockKey Key, ulong Stamp, long Buried);
}
