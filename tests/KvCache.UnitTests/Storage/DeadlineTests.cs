using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

public sealed class DeadlineTests
{
    private static readonly BlockKey Key = StoreFixture.Key(0);
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    [Fact]
    public void An_expired_block_is_not_found_and_its_memory_is_used_again()
    {
        using var fixture = new StoreFixture(pages: 1);
        fixture.Put(0, life: Second);
        fixture.Time.Advance(Second - TimeSpan.FromTicks(1));
        Assert.True(fixture.Store.Contains(Key));
        fixture.Time.Advance(TimeSpan.FromTicks(1));
        Assert.False(fixture.Store.Contains(Key));
        Assert.Equal(1, fixture.Store.GetStatistics().Expired);
        Assert.NotNull(fixture.Reserve(1));
    }

    [Fact]
    public void A_sweep_drops_what_nobody_asks_for()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0, life: Second);
        fixture.Put(1);
        fixture.Time.Advance(Second);
        fixture.Store.Sweep();
        Assert.Equal(1, fixture.Store.GetStatistics().Blocks);
        Assert.Equal(Arena.PageBytes, fixture.Store.Arena.UsedBytes);
    }

    [Fact]
    public void The_last_life_that_was_set_holds()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0, life: Second);
        Assert.True(fixture.Store.SetTimeToLive(Key, 3 * Second));
        fixture.Time.Advance(2 * Second);
        fixture.Store.Sweep();
        Assert.True(fixture.Store.Contains(Key));
        Assert.True(fixture.Store.SetTimeToLive(Key, TimeSpan.Zero));
        Assert.False(fixture.Store.Contains(Key));
        Assert.False(fixture.Store.SetTimeToLive(Key, Second));
    }

    [Fact]
    public void A_life_for_as_long_as_memory_lasts_is_none()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0, life: Second);
        Assert.True(fixture.Store.SetTimeToLive(Key, TimeSpan.MaxValue));
        using var lease = fixture.Store.TryLease(Key);
        Assert.Null(lease!.ExpiresAt);
    }

    [Fact]
    public void A_life_longer_than_time_itself_never_ends()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0, life: TimeSpan.MaxValue);
        Assert.True(fixture.Store.Pin(Key, TimeSpan.MaxValue));
        fixture.Time.Advance(TimeSpan.FromDays(3650));
        fixture.Store.Sweep();
        Assert.True(fixture.Store.Contains(Key));
        Assert.Equal(Arena.PageBytes, fixture.Store.GetStatistics().PinnedBytes);
    }

    [Fact]
    public void A_block_that_expires_under_a_lease_keeps_its_bytes()
    {
        using var fixture = new StoreFixture(pages: 1);
        fixture.Put(0);
        using var lease = fixture.Store.TryLease(Key)!;
        Assert.True(fixture.Store.SetTimeToLive(Key, Second));
        fixture.Time.Advance(Second);
        fixture.Store.Sweep();
        Assert.False(fixture.Store.Contains(Key));
        Assert.Equal(Arena.PageBytes, lease.Bytes.Length);
        Assert.Null(fixture.Reserve(1));
        lease.Dispose();
        Assert.NotNull(fixture.Reserve(1));
    }

    [Fact]
    public void A_pinned_block_that_expires_no_longer_counts_as_pinned()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0, life: Second);
        Assert.True(fixture.Store.Pin(Key, 5 * Second));
        fixture.Time.Advance(Second);
        fixture.Store.Sweep();
        Assert.Equal(0, fixture.Store.GetStatistics().PinnedBytes);
        fixture.Put(0);
        fixture.Time.Advance(5 * Second);
        fixture.Store.Sweep();
        Assert.True(fixture.Store.Contains(Key));
    }

    [Fact]
    public void A_pin_that_ended_lets_the_block_go()
    {
        using var fixture = new StoreFixture(pages: 2);
        fixture.Put(0);
        fixture.Put(1);
        Assert.True(fixture.Store.Pin(Key, Second));
        Assert.True(fixture.Put(2));
        Assert.Equal([0, 2], fixture.Visible(3));
        fixture.Time.Advance(Second);
        Assert.True(fixture.Put(3));
        Assert.True(fixture.Put(4));
        Assert.Equal([3, 4], fixture.Visible(5));
        Assert.Equal(0, fixture.Store.GetStatistics().PinnedBytes);
    }

    [Fact]
    public void Pins_are_limited_to_their_share_and_may_be_renewed()
    {
        using var fixture = new StoreFixture(pages: 4);
        for (var key = 0; key < 3; key++)
            fixture.Put(key);
        Assert.True(fixture.Store.Pin(StoreFixture.Key(0), Second));
        Assert.True(fixture.Store.Pin(StoreFixture.Key(1), Second));
        Assert.False(fixture.Store.Pin(StoreFixture.Key(2), Second));
        Assert.True(fixture.Store.Pin(StoreFixture.Key(0), 2 * Second));
        Assert.True(fixture.Store.Pin(StoreFixture.Key(1), TimeSpan.Zero));
        Assert.True(fixture.Store.Pin(StoreFixture.Key(2), Second));
        Assert.False(fixture.Store.Pin(StoreFixture.Key(9), Second));
    }

    [Fact]
    public void Pins_that_ended_leave_their_share_to_others_at_once()
    {
        using var fixture = new StoreFixture(pages: 2);
        fixture.Put(0);
        fixture.Put(1);
        Assert.True(fixture.Store.Pin(StoreFixture.Key(0), Second));
        fixture.Time.Advance(Second);
        Assert.True(fixture.Store.Pin(StoreFixture.Key(1), Second));
    }

    [Fact]
    public void Pins_count_the_memory_that_blocks_take_and_not_only_their_bytes()
    {
        using var fixture = new StoreFixture(pages: 4);
        for (var key = 0; key < 4; key++)
        {
            using var write = fixture.Store.TryReserve(StoreFixture.Key(key), KvLayout.Opaque(8, 1), default)!;
            fixture.Store.Publish(write.Key, write.Generation);
        }

        Assert.Equal(2, Enumerable.Range(0, 4).Count(key => fixture.Store.Pin(StoreFixture.Key(key), Second)));
        Assert.True(fixture.Put(5));
    }

    [Fact]
    public void Thousands_of_deadlines_of_one_block_end_when_the_last_one_does()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0);
        for (var i = 1; i <= 10_000; i++)
        {
            Assert.True(fixture.Store.Pin(Key, i * Second));
            Assert.True(fixture.Store.SetTimeToLive(Key, 2 * i * Second));
        }

        fixture.Time.Advance(10_000 * Second);
        fixture.Store.Sweep();
        Assert.Equal((1, 0), (fixture.Store.GetStatistics().Blocks, fixture.Store.GetStatistics().PinnedBytes));
        fixture.Time.Advance(10_000 * Second);
        fixture.Store.Sweep();
        Assert.Equal(0, fixture.Store.GetStatistics().Blocks);
    }
}
