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
    public void The_oldest_go_when_there_are_too_many()
    {
        var tombstones = new Tombstones(capacity: 3, time: _time);
        for (var i = 0; i < 3; i++)
            tombstones.Bury(Keys.Key(i), 100);
        tombstones.Bury(Keys.Key(0), 101);
        tombstones.Bury(Keys.Key(3), 100);
        Assert.Equal(3, tombstones.Count);
        Assert.False(tombstones.IsDead(Keys.Key(1), 1));
        Assert.True(tombstones.IsDead(Keys.Key(0), 1));

        var copy = new List<IndexDelta>();
        tombstones.CopyTo(copy);
        Assert.Equal([(Keys.Key(2), 100UL), (Keys.Key(0), 101UL), (Keys.Key(3), 100UL)], copy.Select(d => (d.Key, d.Stamp)));
        Assert.All(copy, d => Assert.Equal(IndexOperation.Deleted, d.Operation));
    }

    private sealed class ManualTime : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public void Advance(TimeSpan by) => _ticks += by.Ticks;
    }
}
