namespace KvCache.Engine.Index;

/// <summary>Answer of an <see cref="IndexReplica"/> to a message.</summary>
internal enum ReplicaOutcome
{
    /// <summary>Taken over.</summary>
    Applied,

    /// <summary>Known already, or part of a snapshot that was given up. No block changed.</summary>
    Duplicate,

    /// <summary>
    /// Deltas in between are missing, or they are of another incarnation, or the snapshot is not whole. No block changed. Within one
    /// incarnation the peer's log may still have what is missing from <see cref="IndexReplica.Next"/> on; else a snapshot mends it.
    /// </summary>
    NeedsSnapshot,

    /// <summary>Too many changes for a snapshot that is still under way. No block changed; they are to be read again after its
    /// end.</summary>
    Deferred,

    /// <summary>The peer was declared dead. No block changed.</summary>
    Dead,
}

/// <summary>Hears of deletions.</summary>
internal interface IIndexSink
{
    /// <summary>
    /// Every generation of a block below the stamp is dead. Called under the replica's lock, possibly more than once with the
    /// same stamp; must not call the replica.
    /// </summary>
    void Bury(BlockKey key, ulong stamp);

    /// <summary>Every generation of all blocks of a tenant below the stamp may be dead, and nobody knows any more which.</summary>
    void RaiseFloor(TenantId tenant, ulong stamp);

    /// <summary>Deletions of a tenant up to the stamp are remembered by nobody who could tell them.</summary>
    void Forgotten(TenantId tenant, ulong stamp);

    /// <summary>Every deletion since the stamp has been told now, or is among the forgotten ones.</summary>
    void KnowsSince(ulong stamp);

    /// <summary>Another silo's clock, as it told it with what it has: what is stamped here from now on is later than all of that.</summary>
    void Witness(ulong clock);
}

/// <summary>
/// One peer as seen from here: takes over its numbered deltas and, where they are broken, its snapshots, and keeps the peer's
/// bits in the index. Messages may come late, twice, in any order or never.
/// </summary>
/// <remarks>
/// <para>Deltas are applied in the order of their numbers without holes, or not at all. A snapshot taken at number S (see
/// <see cref="IndexLog"/> for what that takes) is followed by the deltas from S on, during or after it. The last delta about a block
/// decides; a block without one is as the snapshot says. A block that the snapshot found before a delta removed it must not come back with
/// a late page, so removals are remembered until the snapshot ends.</para>
/// <para>The Redis bit belongs to no peer: snapshots add to it and never clear it. A stale one costs a failed read, which ends it.</para>
/// <para>All members are thread-safe.</para>
/// </remarks>
internal sealed class IndexReplica
{
    private const int MaxRemovedDuringSnapshot = IndexLog.DefaultCapacity;

    private readonly Lock _lock = new();
    private readonly PrefixIndex _index;
    private readonly IIndexSink _sink;
    private readonly HashSet<(BlockKey Key, bool InRedis)> _removed = [];
    private Phase _phase;
    private ulong _incarnation, _next, _snapshot;
    private int _pages;
    private ulong _knownSince;

    /// <summary>Creates the replica of a peer of which nothing is known yet.</summary>
    /// <param name="index">Index to keep.</param>
    /// <param name="holder">The peer's slot in it, 0 to 62. It may be given to another silo after <see cref="Dead"/>.</param>
    /// <param name="sink">Hears of deletions.</param>
    public IndexReplica(PrefixIndex index, int holder, IIndexSink sink)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(holder);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(holder, PrefixIndex.RedisHolder);
        _index = index;
        _sink = sink;
        Holder = holder;
    }

    private enum Phase
    {
        Unknown,
        Snapshot,
        Live,
        Dead,
    }

    /// <summary>The peer's slot in the index.</summary>
    public int Holder { get; }

    /// <summary>Incarnation of the peer's log that is followed; meaningless before the first snapshot.</summary>
    public ulong Incarnation
    {
        get
        {
            lock (_lock)
                return _incarnation;
        }
    }

    /// <summary>Number of the next delta that can be applied.</summary>
    public ulong Next
    {
        get
        {
            lock (_lock)
                return _next;
        }
    }

    /// <summary>Whether a whole snapshot and all deltas up to <see cref="Next"/> are in the index.</summary>
    public bool IsLive
    {
        get
        {
            lock (_lock)
                return _phase == Phase.Live;
        }
    }

    /// <summary>Takes over deltas of the peer's log.</summary>
    /// <param name="incarnation">Incarnation of the log.</param>
    /// <param name="first">Number of the first delta.</param>
    /// <param name="deltas">The deltas; none is a sign of life, by which a loss is noticed.</param>
    public ReplicaOutcome Apply(ulong incarnation, ulong first, ReadOnlySpan<IndexDelta> deltas)
    {
        lock (_lock)
        {
            if (_phase == Phase.Dead)
                return ReplicaOutcome.Dead;
            if (_phase == Phase.Unknown || incarnation != _incarnation || first > _next)
                return ReplicaOutcome.NeedsSnapshot;
            var known = _next - first;
            if (known >= (ulong)deltas.Length)
                return ReplicaOutcome.Duplicate;
            deltas = deltas[(int)known..];
            if (_phase == Phase.Snapshot && _removed.Count + deltas.Length > MaxRemovedDuringSnapshot)
                return ReplicaOutcome.Deferred;
            _index.Apply(Holder, deltas);
            foreach (ref readonly var delta in deltas)
                Note(in delta);
            _next += (ulong)deltas.Length;
            return ReplicaOutcome.Applied;
        }
    }

    /// <summary>The peer has told its clock (<see cref="IIndexSink.Witness"/>).</summary>
    public void Witness(ulong clock) => _sink.Witness(clock);

    /// <summary>Starts to take over a snapshot. One that is under way is given up.</summary>
    /// <param name="incarnation">Incarnation of the peer's log.</param>
    /// <param name="sequence">The log's next number before the snapshot was begun.</param>
    /// <returns>Ticket that the snapshot's pages must show, so that pages of another attempt are not mixed in.</returns>
    public ulong BeginSnapshot(ulong incarnation, ulong sequence)
    {
        lock (_lock)
        {
            _snapshot++;
            if (_phase == Phase.Dead)
                return _snapshot;
            _phase = Phase.Snapshot;
            _incarnation = incarnation;
            _next = sequence;
            _pages = 0;
            _knownSince = ulong.MaxValue;
            _removed.Clear();
            _index.BeginReplace(Holder);
            return _snapshot;
        }
    }

    /// <summary>Takes over a page of a snapshot: the blocks that the peer has, those it knows to be in Redis, and its tombstones.</summary>
    /// <param name="ticket">From <see cref="BeginSnapshot"/>.</param>
    /// <param name="incarnation">Incarnation of the peer's log when it made the page.</param>
    /// <param name="page">Number of the page, from 0. A page that does not follow the one before ends the snapshot.</param>
    /// <param name="deltas">
    /// <see cref="IndexOperation.Added"/>, <see cref="IndexOperation.Persisted"/>, <see cref="IndexOperation.Deleted"/>,
    /// <see cref="IndexOperation.Floor"/>, <see cref="IndexOperation.Forgotten"/> and <see cref="IndexOperation.KnownSince"/>.
    /// </param>
    /// <exception cref="KvFormatException">A delta is of another kind. The snapshot is ended.</exception>
    public ReplicaOutcome ApplySnapshotPage(ulong ticket, ulong incarnation, int page, ReadOnlySpan<IndexDelta> deltas)
    {
        lock (_lock)
        {
            if (_phase == Phase.Dead)
                return ReplicaOutcome.Dead;
            if (_phase != Phase.Snapshot || ticket != _snapshot || page < _pages)
                return ReplicaOutcome.Duplicate;
            if (incarnation != _incarnation || page > _pages)
                return GiveUp();
            _pages++;
            foreach (ref readonly var delta in deltas)
                TakeOver(in delta);
            return ReplicaOutcome.Applied;
        }
    }

    /// <summary>Ends a snapshot: what the peer had and is not in it goes.</summary>
    /// <param name="ticket">From <see cref="BeginSnapshot"/>.</param>
    /// <param name="pages">Number of pages that the peer made.</param>
    public ReplicaOutcome EndSnapshot(ulong ticket, int pages)
    {
        lock (_lock)
        {
            if (_phase == Phase.Dead)
                return ReplicaOutcome.Dead;
            if (_phase != Phase.Snapshot || ticket != _snapshot)
                return ReplicaOutcome.Duplicate;
            if (pages != _pages)
                return GiveUp();
            _index.EndReplace(Holder);
            Forget();
            _phase = Phase.Live;
            _sink.KnowsSince(_knownSince);
            return ReplicaOutcome.Applied;
        }
    }

    /// <summary>The peer is dead for good: its blocks go, and nothing that still arrives brings them back.</summary>
    /// <returns>Number of blocks it had.</returns>
    public int Dead()
    {
        lock (_lock)
        {
            if (_phase == Phase.Dead)
                return 0;
            _phase = Phase.Dead;
            Forget();
            return _index.RemoveHolder(Holder);
        }
    }

    private void Note(in IndexDelta delta)
    {
        if (delta.Operation == IndexOperation.Deleted)
            _sink.Bury(delta.Key, delta.Stamp);
        else if (delta.Operation == IndexOperation.Forgotten)
            _sink.Forgotten(delta.Key.Namespace.Tenant, delta.Stamp);
        else if (_phase == Phase.Snapshot && delta.Operation is IndexOperation.Removed or IndexOperation.Unpersisted)
            _removed.Add((delta.Key, delta.Operation == IndexOperation.Unpersisted));
    }

    private void TakeOver(in IndexDelta delta)
    {
        switch (delta.Operation)
        {
            case IndexOperation.Added:
                if (!_removed.Contains((delta.Key, false)))
                    _index.Add(delta.Key, Holder);
                break;
            case IndexOperation.Persisted:
                if (!_removed.Contains((delta.Key, true)))
                    _index.Add(delta.Key, PrefixIndex.RedisHolder);
                break;
            case IndexOperation.Deleted:
                _sink.Bury(delta.Key, delta.Stamp);
                break;
            case IndexOperation.Floor:
                _sink.RaiseFloor(delta.Key.Namespace.Tenant, delta.Stamp);
                break;
            case IndexOperation.Forgotten:
                _sink.Forgotten(delta.Key.Namespace.Tenant, delta.Stamp);
                break;
            case IndexOperation.KnownSince:
                _knownSince = delta.Stamp;
                break;
            case IndexOperation.Removed or IndexOperation.Unpersisted:
                GiveUp();
                throw new KvFormatException($"A snapshot says what is, not what changed; it has the operation {delta.Operation}.");
        }
    }

    private ReplicaOutcome GiveUp()
    {
        _phase = Phase.Unknown;
        Forget();
        return ReplicaOutcome.NeedsSnapshot;
    }

    private void Forget()
    {
        _removed.Clear();
        _removed.TrimExcess();
    }
}
