using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class IndexReplicaTests : IIndexSink
{
    private const ulong Incarnation = 77;
    private readonly PrefixIndex _index = new();
    private readonly List<(BlockKey Key, ulong Stamp)> _buried = [];
    private readonly List<(TenantId Tenant, ulong Stamp)> _floors = [];
    private ulong _witnessed;
    private readonly IndexReplica _replica;

    public IndexReplicaTests() => _replica = new IndexReplica(_index, 3, this);

    void IIndexSink.Witness(ulong clock) => _witnessed = Math.Max(_witnessed, clock);

    void IIndexSink.Bury(BlockKey key, ulong stamp) => _buried.Add((key, stamp));

    void IIndexSink.RaiseFloor(TenantId tenant, ulong stamp) => _floors.Add((tenant, stamp));

    void IIndexSink.Forgotten(TenantId tenant, ulong stamp)
    {
    }

    void IIndexSink.KnowsSince(ulong stamp)
    {
    }

    [Fact]
    public void The_peers_clock_is_passed_on()
    {
        new IndexReplica(new PrefixIndex(), 3, this).Witness(77);
        Assert.Equal(77UL, _witnessed);
    }

    [Fact]
    public void A_full_copy_brings_the_floors_of_tenants_that_deleted_too_much()
    {
        var peer = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones(capacity: 2));
        using var store = new BlockStore(Memory.Arena(1), observer: peer);
        peer.Attach(store);
        for (var i = 0; i < 3; i++)
            peer.Bury(Keys.Key(i), (ulong)(i + 1) << 20);

        var newcomer = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones());
        using var other = new BlockStore(Memory.Arena(1), observer: newcomer);
        newcomer.Attach(other);
        Copy(peer, newcomer);
        Assert.False(newcomer.MayPublish(Keys.Key(0), 1), "Its deletion is forgotten, and a late copy would bring it back.");
        Assert.True(newcomer.MayPublish(Keys.Key(99), 1UL << 20));
        Assert.False(newcomer.MayPublish(Keys.Key(2), 2UL << 20));
        Assert.True(newcomer.MayPublish(Keys.Of(77, 0), 1), "Another tenant has nothing to do with it.");

        // It is passed on, also where nothing else is known of the tenant.
        var third = new Tombstones();
        third.RaiseFloor(Keys.Namespace.Tenant, 1UL << 20);
        Assert.True(third.IsDead(Keys.Key(0), 1));
        var told = new List<IndexDelta>();
        third.CopyTo(told);
        Assert.Equal([IndexOperation.KnownSince, IndexOperation.Floor], told.Select(delta => delta.Operation));
    }

    // A silo that comes back with blocks on its disk has to know whether any of them was deleted, however long it was away.
    [Fact]
    public void A_full_copy_brings_since_when_deletions_are_known_and_of_whom_some_are_forgotten()
    {
        var time = new ManualTime();
        var peer = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones(time: time));
        using var store = new BlockStore(Memory.Arena(1), observer: peer);
        peer.Attach(store);
        var began = peer.Tombstones.KnownSince;
        peer.Bury(Keys.Key(0), 7UL << 20);
        time.Advance(Tombstones.DefaultLifetime);
        peer.Bury(Keys.Of(77, 0), 9UL << 20);
        var newcomer = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones(time: time));
        using var other = new BlockStore(Memory.Arena(1), observer: newcomer);
        newcomer.Attach(other);
        Assert.True(newcomer.Tombstones.KnownSince > began);

        Copy(peer, newcomer);

        Assert.Equal(began, newcomer.Tombstones.KnownSince);
        Assert.Equal(7UL << 20, newcomer.Tombstones.ForgottenOf(Keys.Namespace.Tenant));
        Assert.Equal(0UL, newcomer.Tombstones.ForgottenOf(Keys.Of(77, 0).Namespace.Tenant));
        Assert.True(newcomer.MayPublish(Keys.Key(0), 1), "In memory nothing is as old.");
    }

    private static void Copy(BlockDirectory peer, BlockDirectory newcomer)
    {
        var replica = new IndexReplica(newcomer.Index, 3, newcomer);
        var copy = new DirectorySnapshot(peer);
        var ticket = replica.BeginSnapshot(Incarnation, copy.Sequence);
        var pages = 0;
        for (var page = new List<IndexDelta>(); copy.Read(page); page.Clear())
        {
            // As they travel.
            var wire = new byte[IndexDeltaCodec.BytesOf(page.Count)];
            var deltas = new IndexDelta[page.Count];
            IndexDeltaCodec.Encode(page.ToArray(), wire);
            replica.ApplySnapshotPage(ticket, Incarnation, pages++, deltas.AsSpan(0, IndexDeltaCodec.Decode(wire, deltas)));
        }

        Assert.Equal(ReplicaOutcome.Applied, replica.EndSnapshot(ticket, pages));
    }

    [Fact]
    public void Nothing_is_applied_before_a_snapshot()
    {
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation, 0, [Added(1)]));
        Assert.Equal(0, _index.Count);
        Assert.False(_replica.IsLive);
    }

    [Fact]
    public void Deltas_are_applied_once_and_without_holes()
    {
        Snapshot(10);
        Assert.Equal(ReplicaOutcome.Applied, _replica.Apply(Incarnation, 10, [Added(1), Added(2)]));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.Apply(Incarnation, 10, [Added(1), Added(2)]));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.Apply(Incarnation, 12, []));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation, 13, []));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation, 13, [Added(9)]));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation + 1, 12, [Added(9)]));
        Assert.Equal(ReplicaOutcome.Applied, _replica.Apply(Incarnation, 11, [Added(2), Removed(1), Added(3)]));
        Assert.Equal((14UL, Incarnation, true), (_replica.Next, _replica.Incarnation, _replica.IsLive));
        Assert.Equal([2UL, 3UL], Held());
    }

    [Fact]
    public void A_snapshot_replaces_what_the_peer_had()
    {
        _index.Add(Keys.Key(1), 5);
        Snapshot(0, [Added(1), Added(2), new(IndexOperation.Persisted, Keys.Key(7), 0)]);
        Snapshot(0, [Added(2), Added(3)]);
        Assert.Equal([2UL, 3UL], Held());
        Assert.Equal(1UL << 5, _index.HoldersOf(Keys.Key(1)));
        Assert.Equal(1UL << PrefixIndex.RedisHolder, _index.HoldersOf(Keys.Key(7)));
    }

    [Fact]
    public void What_was_removed_during_a_snapshot_does_not_come_back_with_a_late_page()
    {
        var ticket = _replica.BeginSnapshot(Incarnation, 5);
        Assert.Equal(
            ReplicaOutcome.Applied,
            _replica.Apply(Incarnation, 5, [Removed(1), Added(2), new(IndexOperation.Unpersisted, Keys.Key(3), 0)]));
        Assert.Equal(
            ReplicaOutcome.Applied,
            _replica.ApplySnapshotPage(ticket, Incarnation, 0, [Added(1), Added(4), new(IndexOperation.Persisted, Keys.Key(3), 0)]));
        Assert.False(_replica.IsLive);
        Assert.Equal(ReplicaOutcome.Applied, _replica.EndSnapshot(ticket, 1));
        Assert.Equal([2UL, 4UL], Held());
        Assert.Equal(0UL, _index.HoldersOf(Keys.Key(3)));
        Assert.Equal(8UL, _replica.Next);
    }

    [Fact]
    public void A_snapshot_with_a_lost_page_is_given_up_and_removes_nothing()
    {
        Snapshot(0, [Added(1)]);
        var ticket = _replica.BeginSnapshot(Incarnation, 1);
        Assert.Equal(ReplicaOutcome.Applied, _replica.ApplySnapshotPage(ticket, Incarnation, 0, []));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.ApplySnapshotPage(ticket, Incarnation, 0, [Added(8)]));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.ApplySnapshotPage(ticket, Incarnation, 2, [Added(2)]));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.EndSnapshot(ticket, 3));
        Assert.Equal([1UL], Held());

        ticket = _replica.BeginSnapshot(Incarnation, 1);
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.EndSnapshot(ticket, 1));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation, 1, [Added(2)]));
        Assert.Equal([1UL], Held());
    }

    [Fact]
    public void A_new_incarnation_ends_a_snapshot_of_the_old_one()
    {
        var old = _replica.BeginSnapshot(Incarnation, 5);
        _replica.ApplySnapshotPage(old, Incarnation, 0, [Added(1)]);
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.ApplySnapshotPage(old, Incarnation + 1, 1, [Added(2)]));

        var ticket = _replica.BeginSnapshot(Incarnation + 1, 0);
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.ApplySnapshotPage(old, Incarnation, 0, [Added(3)]));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.EndSnapshot(old, 1));
        Assert.Equal(ReplicaOutcome.NeedsSnapshot, _replica.Apply(Incarnation, 5, [Added(4)]));
        Assert.Equal(ReplicaOutcome.Applied, _replica.ApplySnapshotPage(ticket, Incarnation + 1, 0, [Added(5)]));
        Assert.Equal(ReplicaOutcome.Applied, _replica.EndSnapshot(ticket, 1));
        Assert.Equal([5UL], Held());
    }

    [Fact]
    public void Too_many_removals_wait_for_the_end_of_a_snapshot()
    {
        IndexDelta[] many = [.. Enumerable.Range(0, IndexLog.DefaultCapacity + 1).Select(i => Removed(i))];
        var ticket = _replica.BeginSnapshot(Incarnation, 0);
        Assert.Equal(ReplicaOutcome.Deferred, _replica.Apply(Incarnation, 0, many));
        Assert.Equal(ReplicaOutcome.Applied, _replica.ApplySnapshotPage(ticket, Incarnation, 0, [Added(1)]));
        Assert.Equal(ReplicaOutcome.Applied, _replica.EndSnapshot(ticket, 1));
        Assert.Equal(ReplicaOutcome.Applied, _replica.Apply(Incarnation, 0, many));
        Assert.Empty(Held());
    }

    [Fact]
    public void Deletions_reach_the_sink_by_delta_and_by_snapshot()
    {
        Snapshot(0, [new(IndexOperation.Deleted, Keys.Key(1), 40)]);
        _replica.Apply(Incarnation, 0, [new(IndexOperation.Deleted, Keys.Key(2), 41)]);
        Assert.Equal([(Keys.Key(1), 40UL), (Keys.Key(2), 41UL)], _buried);
    }

    [Fact]
    public void A_snapshot_of_changes_is_refused()
    {
        var ticket = _replica.BeginSnapshot(Incarnation, 0);
        Assert.Throws<KvFormatException>(() => _replica.ApplySnapshotPage(ticket, Incarnation, 0, [Removed(1)]));
        Assert.Equal(ReplicaOutcome.Duplicate, _replica.EndSnapshot(ticket, 1));
    }

    [Fact]
    public void A_dead_peer_never_comes_back()
    {
        Snapshot(0, [Added(1), Added(2)]);
        var ticket = _replica.BeginSnapshot(Incarnation, 0);
        Assert.Equal(2, _replica.Dead());
        Assert.Equal(0, _replica.Dead());
        Assert.Equal(ReplicaOutcome.Dead, _replica.ApplySnapshotPage(ticket, Incarnation, 0, [Added(1)]));
        Assert.Equal(ReplicaOutcome.Dead, _replica.EndSnapshot(ticket, 1));
        Assert.Equal(ReplicaOutcome.Dead, _replica.ApplySnapshotPage(_replica.BeginSnapshot(Incarnation, 0), Incarnation, 0, [Added(1)]));
        Assert.Equal(ReplicaOutcome.Dead, _replica.Apply(Incarnation, 0, [Added(1)]));
        Assert.Equal(0, _index.Count);
    }

    private void Snapshot(ulong sequence, params IndexDelta[] deltas)
    {
        var ticket = _replica.BeginSnapshot(Incarnation, sequence);
        Assert.Equal(ReplicaOutcome.Applied, _replica.ApplySnapshotPage(ticket, Incarnation, 0, deltas));
        Assert.Equal(ReplicaOutcome.Applied, _replica.EndSnapshot(ticket, 1));
    }

    private IEnumerable<ulong> Held() =>
        Enumerable.Range(0, 10).Where(i => (_index.HoldersOf(Keys.Key(i)) & (1UL << 3)) != 0).Select(i => (ulong)i);

    private static IndexDelta Added(int number) => new(IndexOperation.Added, Keys.Key(number), 0);

    private static IndexDelta Removed(int number) => new(IndexOperation.Removed, Keys.Key(number), 0);
}
