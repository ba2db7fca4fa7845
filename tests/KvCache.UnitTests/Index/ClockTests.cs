using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Silos whose clocks differ by hours: a deletion is later than what it deletes.</summary>
public sealed class ClockTests
{
    [Fact]
    public void A_silo_whose_clock_is_behind_deletes_what_it_was_told_of()
    {
        using var ahead = new Silo(TimeSpan.FromHours(3));
        using var behind = new Silo(TimeSpan.Zero);
        var generation = ahead.Store(1);
        Assert.True(behind.Blocks.NewGeneration() < generation); // by its own clock it could not
        new IndexReplica(behind.Directory.Index, 1, behind.Directory).Witness(ahead.Blocks.Clock);
        Assert.True(behind.Blocks.NewGeneration() > generation);
    }

    [Fact]
    public void A_silo_that_is_asked_to_delete_gives_a_stamp_above_what_it_has()
    {
        using var ahead = new Silo(TimeSpan.FromHours(3));
        var generation = ahead.Store(1);
        var told = new Silo(TimeSpan.Zero).Blocks.NewGeneration();
        var stamp = ahead.Blocks.StampFrom(told);
        Assert.True(stamp > generation);
        Assert.Equal((true, true), (ahead.Directory.Delete(Keys.Key(1), stamp) is var deletion ? deletion.Removed : false, deletion.Known));
        Assert.False(ahead.Directory.MayPublish(Keys.Key(1), generation));
    }

    [Fact]
    public void Clocks_that_agree_need_no_other_stamp()
    {
        using var silo = new Silo(TimeSpan.Zero);
        silo.Store(1);
        var stamp = new Silo(TimeSpan.FromSeconds(1)).Blocks.NewGeneration();
        Assert.Equal(stamp, silo.Blocks.StampFrom(stamp));
        Assert.True(silo.Store(2) > stamp); // and what begins behind it lives
    }

    [Fact]
    public void A_copy_that_was_sent_before_its_holder_heard_of_the_deletion_does_not_appear()
    {
        using var holder = new Silo(TimeSpan.Zero);
        using var reader = new Silo(TimeSpan.Zero);
        var generation = holder.Store(1);

        // The reader knows of no such block when it is asked, and gets the copy later.
        var stamp = reader.Blocks.StampFrom(holder.Blocks.NewGeneration());
        Assert.False(reader.Directory.Delete(Keys.Key(1), stamp).Known);
        using var copy = reader.Blocks.TryReserve(Keys.Key(1), Silo.Layout, default, generation, copy: true);
        Assert.Equal(PublishOutcome.Gone, reader.Blocks.Publish(Keys.Key(1), generation));
    }

    [Fact]
    public void A_wall_clock_that_is_set_back_makes_no_life_longer_and_no_pin_either()
    {
        using var silo = new Silo(TimeSpan.Zero);
        silo.Store(1, TimeSpan.FromSeconds(10));
        silo.Store(2);
        Assert.True(silo.Blocks.Pin(Keys.Key(2), TimeSpan.FromSeconds(10)));
        silo.Time.Set(TimeSpan.FromHours(-1));
        silo.Time.Advance(TimeSpan.FromSeconds(11));
        silo.Blocks.Sweep();
        Assert.False(silo.Blocks.Contains(Keys.Key(1)));
        Assert.Equal(0, silo.Blocks.GetStatistics().PinnedBytes);
    }

    [Fact]
    public void A_wall_clock_that_is_set_forward_ends_no_life_and_what_is_told_of_it_follows()
    {
        using var silo = new Silo(TimeSpan.Zero);
        silo.Store(1, TimeSpan.FromSeconds(10));
        silo.Time.Set(TimeSpan.FromHours(1));
        using var lease = silo.Blocks.TryLease(Keys.Key(1));
        Assert.Equal(silo.Time.GetUtcNow() + TimeSpan.FromSeconds(10), lease!.ExpiresAt);
    }

    [Fact]
    public void What_is_written_behind_a_clock_that_was_set_back_is_still_the_newest()
    {
        using var silo = new Silo(TimeSpan.Zero);
        var first = silo.Store(1);
        silo.Time.Set(TimeSpan.FromHours(-1));
        Assert.True(silo.Store(2) > first);
    }

    private sealed class Silo : IDisposable
    {
        public static readonly KvLayout Layout = KvLayout.Opaque(Arena.PageBytes, 1);

        public Silo(TimeSpan ahead)
        {
            Time.Set(ahead);
            Directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones(time: Time));
            Blocks = new BlockStore(Memory.Arena(4), time: Time, observer: Directory);
            Directory.Attach(Blocks);
        }

        public ManualTime Time { get; } = new();

        public BlockDirectory Directory { get; }

        public BlockStore Blocks { get; }

        public ulong Store(int key, TimeSpan? life = null)
        {
            using var write = Blocks.TryReserve(Keys.Key(key), Layout, default)!;
            Assert.Equal(PublishOutcome.Published, Blocks.Publish(write.Key, write.Generation, life));
            return write.Generation;
        }

        public void Dispose() => Blocks.Dispose();
    }
}
