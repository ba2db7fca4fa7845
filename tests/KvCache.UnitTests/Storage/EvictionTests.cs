using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

public sealed class EvictionTests
{
    [Fact]
    public void The_least_recently_used_block_goes_first()
    {
        using var fixture = new StoreFixture(pages: 4);
        for (var key = 0; key < 4; key++)
            Assert.True(fixture.Put(key));
        fixture.Use(0);
        Assert.True(fixture.Put(4));
        Assert.Equal([0, 2, 3, 4], fixture.Visible(5));
    }

    [Fact]
    public void A_look_is_no_use()
    {
        using var fixture = new StoreFixture(pages: 2);
        fixture.Put(0);
        fixture.Put(1);
        Assert.True(fixture.Store.Contains(StoreFixture.Key(0)));
        Assert.Equal(1, fixture.Store.Match(StoreFixture.Key(0).Namespace, [StoreFixture.Key(0).Hash]));
        Assert.NotNull(fixture.Store.Describe(StoreFixture.Key(0)));
        fixture.Put(2);
        Assert.Equal([1, 2], fixture.Visible(3));
    }

    [Fact]
    public void A_prefix_is_evicted_from_its_end()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0);
        fixture.Put(1, parent: 0);
        fixture.Put(2, parent: 1);
        fixture.Put(3);
        Assert.True(fixture.Put(4));
        Assert.Equal([0, 1, 3, 4], fixture.Visible(5));
        Assert.True(fixture.Put(5));
        Assert.Equal([0, 3, 4, 5], fixture.Visible(6));
    }

    [Fact]
    public void Of_two_branches_the_older_one_goes_first()
    {
        using var fixture = new StoreFixture(pages: 3);
        fixture.Put(0);
        fixture.Put(1, parent: 0);
        fixture.Put(2, parent: 0);
        fixture.Use(1);
        Assert.True(fixture.Put(3));
        Assert.Equal([0, 1, 3], fixture.Visible(4));
    }

    [Fact]
    public void A_block_whose_end_is_in_use_stays()
    {
        using var fixture = new StoreFixture(pages: 3);
        fixture.Put(0);
        fixture.Put(1, parent: 0);
        fixture.Put(2);
        using var lease = fixture.Store.TryLease(StoreFixture.Key(1));
        Assert.True(fixture.Put(3));
        Assert.Equal([0, 1, 3], fixture.Visible(4));
        Assert.True(fixture.Put(4));
        Assert.Equal([0, 1, 4], fixture.Visible(5));
        using var other = fixture.Store.TryLease(StoreFixture.Key(4));
        Assert.Null(fixture.Reserve(5));
        Assert.Equal([0, 1, 4], fixture.Visible(6));
    }

    [Fact]
    public void Leased_pinned_and_unfinished_blocks_stay()
    {
        using var fixture = new StoreFixture(pages: 4, new BlockStoreOptions { MaxPinnedShare = 0.25, Eviction = "lru/t" });
        fixture.Put(0);
        fixture.Put(1);
        using var lease = fixture.Store.TryLease(StoreFixture.Key(0));
        Assert.True(fixture.Store.Pin(StoreFixture.Key(1), TimeSpan.FromHours(1)));
        using var first = fixture.Reserve(2);
        using var second = fixture.Reserve(3);
        Assert.Null(fixture.Reserve(4));
        Assert.Equal(1, fixture.Store.GetStatistics().Refused);
        lease!.Dispose();
        Assert.NotNull(fixture.Reserve(4));
        Assert.Equal([1], fixture.Visible(5));
    }

    [Fact]
    public void A_request_that_cannot_fit_evicts_nothing()
    {
        using var fixture = new StoreFixture(pages: 16);
        for (var key = 0; key < 16; key++)
            fixture.Put(key);
        using var middle = fixture.Store.TryLease(StoreFixture.Key(8));
        Assert.Null(fixture.Reserve(20, blockPages: 9));
        Assert.Equal(16, fixture.Store.GetStatistics().Blocks);
        Assert.NotNull(fixture.Reserve(20, blockPages: 8));
    }

    [Fact]
    public void Scattered_small_blocks_make_way_for_a_large_one()
    {
        using var fixture = new StoreFixture(pages: 64);
        for (var key = 0; key < 64; key++)
            fixture.Put(key);

        // Every fourth block was used least recently, so that no two victims lie side by side; the last quarter is leased.
        for (var key = 0; key < 64; key++)
        {
            if (key % 4 != 0)
                fixture.Use(key);
        }

        var leases = Enumerable.Range(48, 16).Select(key => fixture.Store.TryLease(StoreFixture.Key(key))!).ToArray();
        Assert.True(fixture.Put(100, blockPages: 6));
        Assert.InRange(fixture.Store.GetStatistics().Evicted, 6, 18);
        Assert.All(leases, lease => Assert.Equal((byte)Array.IndexOf(leases, lease) + 48, lease.Bytes[0]));
        Array.ForEach(leases, lease => lease.Dispose());
    }

    [Fact]
    public void A_long_prefix_is_cleared_in_one_pass()
    {
        using var fixture = new StoreFixture(pages: 20_000);
        for (var key = 0; key < 20_000; key++)
            fixture.Put(key, parent: key - 1);
        Assert.Equal(20_000, fixture.Store.Clear());
        Assert.Equal(0, fixture.Store.Clear());
        Assert.Equal(0, fixture.Store.Arena.UsedBytes);
    }
}
