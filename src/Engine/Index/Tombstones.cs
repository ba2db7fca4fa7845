namespace KvCache.Engine.Index;

/// <summary>
/// Deleted blocks: key → first generation that may live. It keeps late copies, written behind or read back, from bringing a deleted
/// block to life again.
/// </summary>
/// <remarks>
/// <para>Past the capacity the tenant that has the most loses its oldest, and gets a floor instead: nothing of it that began before that
/// deletion may become visible, for as long as the tombstone would have been kept. So a tenant that deletes much makes its own late copies
/// misses, and nobody else's.</para>
/// <para>Of deletions whose block nobody had, the last few of each tenant are kept too, and forgotten without a floor: only a silo that
/// nobody had heard of yet can have
/// such a block, and it hears of them when it is met.</para>
/// <para>Thread-safe. Asking costs nothing while there are no tombstones.</para>
/// </remarks>
internal sealed class Tombstones
{
    /// <summary>How long a tombstone is kept by default: longer than any write is under way.</summary>
    public static readonly TimeSpan DefaultLifetime = TimeSpan.FromMinutes(10);

    /// <summary>Most tombstones by default, about 20 MiB.</summary>
    public const int DefaultCapacity = 131_072;

    /// <summary>Most deletions of a tenant that are kept although nobody had the block.</summary>
    public const int MaxAbsent = 1024;

    // Beyond them tenants have one stamp together.
    private const int MaxForgetful = 4096;

    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, LinkedListNode<Tombstone>> _byKey = [];
    private readonly Dictionary<TenantId, Graveyard> _byTenant = [];
    private readonly Dictionary<TenantId, ulong> _forgotten = [];
    private readonly TimeProvider _time;
    private readonly TimeSpan _lifetime;
    private readonly int _capacity;
    private int _count;
    private volatile bool _isEmpty = true;
    private ulong _knownSince, _forgottenOfOthers;

    /// <summary>Creates an empty set.</summary>
    /// <param name="lifetime">How long a tombstone is kept; null for <see cref="DefaultLifetime"/>.</param>
    /// <param name="capacity">Most tombstones.</param>
    /// <param name="time">Clock; null for the system's.</param>
    public Tombstones(TimeSpan? lifetime = null, int capacity = DefaultCapacity, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _lifetime = lifetime ?? DefaultLifetime;
        _capacity = capacity;
        _time = time ?? TimeProvider.System;
        _knownSince = (ulong)_time.GetUtcNow().ToUnixTimeMilliseconds() << Storage.GenerationClock.Shift;
    }

    /// <summary>Stamp since which every deletion is known here, or among the forgotten ones: the start of this silo, or that of another
    /// which has told it what it knows.</summary>
    public ulong KnownSince => Volatile.Read(ref _knownSince);

    /// <summary>Stamp up to which deletions of a tenant's blocks were known here, or elsewhere, and are no longer.</summary>
    public ulong ForgottenOf(TenantId tenant)
    {
        lock (_lock)
        {
            Expire(_time.GetTimestamp());
            return Math.Max(_forgottenOfOthers, _forgotten.GetValueOrDefault(tenant));
        }
    }

    /// <summary>Somebody does not remember deletions of a tenant any more.</summary>
    public void Forget(TenantId tenant, ulong stamp)
    {
        lock (_lock)
            Remember(tenant, stamp);
    }

    /// <summary>Somebody has told all that he knows, which is every deletion since a stamp.</summary>
    public void KnowsSince(ulong stamp)
    {
        lock (_lock)
            Volatile.Write(ref _knownSince, Math.Min(_knownSince, stamp));
    }

    /// <summary>Tombstones kept, expired ones included until the next call.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Declares every generation of a block below the stamp dead.</summary>
    /// <returns>False when that was known already; it does not extend the tombstone's life.</returns>
    public bool Bury(BlockKey key, ulong stamp) => Bury(key, stamp, absent: false);

    /// <summary>Declares every generation of all blocks of a tenant below the stamp dead: another silo has forgotten which it
    /// was.</summary>
    public void RaiseFloor(TenantId tenant, ulong stamp)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            Expire(now);
            var graveyard = GraveyardOf(tenant);
            if (graveyard.Floor.Stamp < stamp)
                graveyard.Floor = new Tombstone(default, stamp, now, Absent: false);
        }
    }

    /// <summary>Remembers the deletion of a block that nobody has.</summary>
    public void BuryAbsent(BlockKey key, ulong stamp) => Bury(key, stamp, absent: true);

    private bool Bury(BlockKey key, ulong stamp, bool absent)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            Expire(now);
            if (_byKey.TryGetValue(key, out var node))
            {
                if (node.Value.Stamp >= stamp)
                    return false;
                absent &= node.Value.Absent;
                node.List!.Remove(node);
            }
            else
            {
                if (_byKey.Count == _capacity)
                    MakeFloor();
                node = new LinkedListNode<Tombstone>(default);
                _byKey.Add(key, node);
            }

            node.Value = new Tombstone(key, stamp, now, absent);
            var graveyard = GraveyardOf(key.Namespace.Tenant);
            (absent ? graveyard.Absent : graveyard.ByAge).AddLast(node);
            if (graveyard.Absent.Count > MaxAbsent)
                RemoveFirst(graveyard.Absent);
            Volatile.Write(ref _count, _byKey.Count);
            return true;
        }
    }

    /// <summary>Whether a generation of a block was deleted, or may have been.</summary>
    public bool IsDead(BlockKey key, ulong generation)
    {
        if (_isEmpty)
            return false;
        lock (_lock)
        {
            Expire(_time.GetTimestamp());
            return (_byKey.TryGetValue(key, out var node) && generation < node.Value.Stamp)
                || (_byTenant.TryGetValue(key.Namespace.Tenant, out var graveyard) && generation < graveyard.Floor.Stamp);
        }
    }

    /// <summary>Copies all tombstones, oldest first of every tenant, as <see cref="IndexOperation.Deleted"/>, and ahead of them what stands
    /// for those that were too many, as <see cref="IndexOperation.Floor"/>, and for those that are over: a snapshot carries them.</summary>
    public void CopyTo(ICollection<IndexDelta> deltas)
    {
        lock (_lock)
        {
            Expire(_time.GetTimestamp());
            deltas.Add(new IndexDelta(IndexOperation.KnownSince, default, _knownSince));
            if (_forgottenOfOthers > 0)
                deltas.Add(new IndexDelta(IndexOperation.Forgotten, default, _forgottenOfOthers));
            foreach (var (tenant, stamp) in _forgotten)
                deltas.Add(new IndexDelta(IndexOperation.Forgotten, new BlockKey(new NamespaceId(tenant, 0), default), stamp));
            foreach (var (tenant, graveyard) in _byTenant)
            {
                if (graveyard.Floor.Stamp > 0)
                    deltas.Add(
                        new IndexDelta(IndexOperation.Floor, new BlockKey(new NamespaceId(tenant, 0), default), graveyard.Floor.Stamp));
            }

            foreach (var tombstone in _byTenant.Values.SelectMany(graveyard => graveyard.Absent.Concat(graveyard.ByAge)))
                deltas.Add(new IndexDelta(IndexOperation.Deleted, tombstone.Key, tombstone.Stamp));
        }
    }

    // All live equally long, so that a tenant's oldest expires first. There are few tenants.
    private void Expire(long now)
    {
        foreach (var (tenant, graveyard) in _byTenant)
        {
            foreach (var stones in (ReadOnlySpan<LinkedList<Tombstone>>)[graveyard.ByAge, graveyard.Absent])
            {
                while (stones.First is { } oldest && IsOver(oldest.Value.Buried))
                    RemoveFirst(stones);
            }

            if (graveyard.Floor.Stamp > 0 && IsOver(graveyard.Floor.Buried))
            {
                Remember(tenant, graveyard.Floor.Stamp);
                graveyard.Floor = default;
            }

            if (graveyard.ByAge.Count + graveyard.Absent.Count == 0 && graveyard.Floor.Stamp == 0)
                _byTenant.Remove(tenant);
        }

        _isEmpty = _byTenant.Count == 0;

        bool IsOver(long buried) => _time.GetElapsedTime(buried, now) >= _lifetime;
    }

    private Graveyard GraveyardOf(TenantId tenant)
    {
        if (!_byTenant.TryGetValue(tenant, out var graveyard))
            _byTenant.Add(tenant, graveyard = new Graveyard());
        _isEmpty = false;
        return graveyard;
    }

    private void MakeFloor()
    {
        var largest = _byTenant.Values.MaxBy(graveyard => graveyard.ByAge.Count + graveyard.Absent.Count)!;
        if (largest.Absent.Count > 0)
        {
            RemoveFirst(largest.Absent);
            return;
        }

        var oldest = largest.ByAge.First!.Value;
        largest.Floor = new Tombstone(default, Math.Max(largest.Floor.Stamp, oldest.Stamp), oldest.Buried, Absent: false);
        RemoveFirst(largest.ByAge);
    }

    private void RemoveFirst(LinkedList<Tombstone> stones)
    {
        var stone = stones.First!.Value;
        Remember(stone.Key.Namespace.Tenant, stone.Stamp);
        _byKey.Remove(stone.Key);
        stones.RemoveFirst();
        Volatile.Write(ref _count, _byKey.Count);
    }

    // The tenant without an id stands for all that have no stamp of their own.
    private void Remember(TenantId tenant, ulong stamp)
    {
        ulong known = 0;
        if (tenant != default && (_forgotten.TryGetValue(tenant, out known) || _forgotten.Count < MaxForgetful))
            _forgotten[tenant] = Math.Max(known, stamp);
        else
            _forgottenOfOthers = Math.Max(_forgottenOfOthers, stamp);
    }

    private readonly record struct Tombstone(BlockKey Key, ulong Stamp, long Buried, bool Absent);

    /// <summary>A tenant's tombstones, and what has become of those that were too many.</summary>
    private sealed class Graveyard
    {
        public LinkedList<Tombstone> ByAge { get; } = [];

        public LinkedList<Tombstone> Absent { get; } = [];

        public Tombstone Floor { get; set; }
    }
}
