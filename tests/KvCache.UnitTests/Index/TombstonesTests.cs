using KvCache.Engine.Index;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TombstonesTests
{
    private readonly ManualTime _time = new();

    [Fact]
    public void Generations_below_the_stamp_are_dead_and_others_are_not()
    {
        var tombstones = new Tombstones(time: _time);
        Assert.False(tombstones.IsDead(Keys.Key(1), 0));
        Assert.True(tombstones.Bury(Keys.Key(1), 100));
        Assert.True(tombstones.IsDead(Keys.Key(1), 99));
        Assert.False(tombstones.IsDead(Keys.Key(1), 100));
        Assert.False(tombstones.IsDead(Keys.Key(2), 99));
    }

    [Fact]
    public void The_highest_stamp_stands()
    {
        var tombstones = new Tombstones(time: _time);
        Assert.True(tombstones.Bury(Keys.Key(1), 100));
        Assert.False(tombstones.Bury(Keys.Key(1), 50));
        Assert.False(tombstones.Bury(Keys.Key(1), 100));
        Assert.True(tombstones.IsDead(Keys.Key(1), 99));
        Assert.True(tombstones.Bury(Keys.Key(1), 200));
        Assert.True(tombstones.IsDead(Keys.Key(1), 199));
        Assert.Equal(1, tombstones.Count);
    }

    [Fact]
    public void A_tombstone_expires_and_only_news_extends_its_life()
    {
        var tombstones = new Tombstones(TimeSpan.FromMinutes(10), time: _time);
        tombstones.Bury(Keys.Key(1), 100);
        tombstones.Bury(Keys.Key(2), 100);
        _time.Advance(TimeSpan.FromMinutes(9));
        tombstones.Bury(Keys.Key(1), 100);
        tombstones.Bury(Keys.Key(2), 101);
        Assert.True(tombstones.IsDead(Keys.Key(1), 1));
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.False(tombstones.IsDead(Keys.Key(1), 1));
        Assert.True(tombstones.IsDead(Keys.Key(2), 1));
        Assert.Equal(1, tombstones.Count);
        _time.Advance(TimeSpan.FromMinutes(9));
        Assert.False(tombstones.IsDead(Keys.Key(2), 1));
        Assert.Equal(0, tombstones.Count);
    }

    [Fact]
    public void The_oldest_make_room_for_a_floor_when_there_are_too_many()
    {
        var tombstones = new Tombstones(capacity: 3, time: _time);
        for (var i = 0; i < 3; i++)
            tombstones.Bury(Keys.Key(i), 100);
        tombstones.Bury(Keys.Key(0), 101);
        tombstones.Bury(Keys.Key(3), 100);
        Assert.Equal(3, tombstones.Count);
        Assert.True(tombstones.IsDead(Keys.Key(1), 99), "Nothing that began before the deletion that is not remembered any more may live.");
        Assert.True(tombstones.IsDead(Keys.Key(99), 99), "It may have been its deletion.");
        Assert.False(tombstones.IsDead(Keys.Key(1), 100));
        Assert.True(tombstones.IsDead(Keys.Key(0), 1));

        var copy = new List<IndexDelta>();
        tombstones.CopyTo(copy);
        copy.RemoveAll(d => d.Operation is IndexOperation.KnownSince or IndexOperation.Forgotten);
        Assert.Equal(
            new IndexDelta(IndexOperation.Floor, new BlockKey(new NamespaceId(Keys.Key(0).Namespace.Tenant, 0), default), 100), copy[0]);
        Assert.Equal([(Keys.Key(2), 100UL), (Keys.Key(0), 101UL), (Keys.Key(3), 100UL)], copy.Skip(1).Select(d => (d.Key, d.Stamp)));
        Assert.All(copy.Skip(1), d => Assert.Equal(IndexOperation.Deleted, d.Operation));
        _time.Advance(TimeSpan.FromMinutes(10));
        tombstones.Bury(Keys.Key(50), 200);
        Assert.False(tombstones.IsDead(Keys.Key(1), 1), "The floor goes when the tombstone would have gone.");
    }

    [Fact]
    public void Of_deletions_that_nobody_knew_the_block_of_the_last_are_kept_and_leave_no_floor()
    {
        var tombstones = new Tombstones(time: _time);
        for (var i = 0; i < 2 * Tombstones.MaxAbsent; i++)
            tombstones.BuryAbsent(Keys.Key(i), 100);
        Assert.Equal(Tombstones.MaxAbsent, tombstones.Count);
        Assert.False(tombstones.IsDead(Keys.Key(0), 1));
        Assert.True(tombstones.IsDead(Keys.Key((2 * Tombstones.MaxAbsent) - 1), 99));
        Assert.True(tombstones.Bury(Keys.Key((2 * Tombstones.MaxAbsent) - 1), 101));
        for (var i = 0; i < 2 * Tombstones.MaxAbsent; i++)
            tombstones.BuryAbsent(Keys.Key(10_000 + i), 100);
        Assert.True(tombstones.IsDead(Keys.Key((2 * Tombstones.MaxAbsent) - 1), 100),
            "It was known meanwhile, and is not among the absent ones.");
        _time.Advance(TimeSpan.FromMinutes(10));
        Assert.False(tombstones.IsDead(Keys.Key(10_000), 1));
        Assert.Equal(0, tombstones.Count);
    }

    [Fact]
    public void A_tenant_that_deletes_too_much_loses_its_own_tombstones()
    {
        var tombstones = new Tombstones(capacity: 8, time: _time);
        var other = new NamespaceId(new TenantId(7), 7);
        tombstones.Bury(Keys.Key(1), 100);
        tombstones.Bury(Keys.Key(2), 100);
        for (var i = 0; i < 100; i++)
            tombstones.Bury(new BlockKey(other, Keys.Hash(i)), 1000);
        Assert.Equal(8, tombstones.Count);
        Assert.True(tombstones.IsDead(Keys.Key(1), 1));
        Assert.False(tombstones.IsDead(Keys.Key(3), 1));
        Assert.True(tombstones.IsDead(new BlockKey(other, Keys.Hash(3)), 999));
    }

    private sealed class ManualTime : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public void Advance(TimeSpan by) => _ticks += by.Ticks;
    }
}
