using System.Diagnostics;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>A silo that is cut off lets nothing be read.</summary>
public sealed class ServingTermTests
{
    [Fact]
    public void Behind_its_term_a_store_gives_no_leases_until_the_term_goes_on()
    {
        using var fixture = new StoreFixture(pages: 2);
        Assert.True(fixture.Put(1));
        fixture.Store.Term.EndsAfter(Stopwatch.GetTimestamp() - Stopwatch.Frequency, TimeSpan.FromMilliseconds(500));
        Assert.True(fixture.Store.Term.IsOver);
        Assert.Null(fixture.Store.TryLease(StoreFixture.Key(1)));
        Assert.Null(fixture.Store.Follow(StoreFixture.Key(1), TimeSpan.Zero));
        Assert.Null(fixture.Store.Peek(StoreFixture.Key(1)));
        Assert.Equal(0, fixture.Store.CopyLayer(StoreFixture.Key(1), 1, new byte[8192]));

        fixture.Store.Term.EndsAfter(Stopwatch.GetTimestamp(), TimeSpan.FromHours(1));
        using (fixture.Store.TryLease(StoreFixture.Key(1)))
            Assert.Equal(1, fixture.Store.GetStatistics().LeasedBlocks);
        fixture.Store.Term.HasNoEnd();
        Assert.False(fixture.Store.Term.IsOver);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_was_begun_before_the_end_of_its_term_does_not_become_visible_behind_it(bool replace)
    {
        using var fixture = new StoreFixture(pages: 2);
        using (var write = fixture.Reserve(1)!)
        {
            fixture.Store.Term.EndsAfter(Stopwatch.GetTimestamp() - Stopwatch.Frequency, TimeSpan.FromMilliseconds(500));
            Assert.Equal(PublishOutcome.Gone, fixture.Store.Publish(write.Key, write.Generation, replace: replace));
        }

        fixture.Store.Term.HasNoEnd();
        Assert.False(fixture.Store.Contains(StoreFixture.Key(1)));
        Assert.Equal(0, fixture.Store.Arena.UsedBytes);
        Assert.True(fixture.Put(1));
    }

    [Fact]
    public void Leases_of_a_list_are_released_whatever_goes_wrong_before_they_are_handed_over()
    {
        using var fixture = new StoreFixture(pages: 2);
        Assert.True(fixture.Put(1));
        Assert.True(fixture.Put(2));
        Assert.Throws<InvalidOperationException>(() => FailWithLeases(fixture.Store));
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);

        LeaseList heir;
        using (var leases = new LeaseList())
        {
            leases.Add(fixture.Store.TryLease(StoreFixture.Key(1))!);
            heir = leases.HandOver();
        }

        Assert.Equal((1, 1), (heir.Count, fixture.Store.GetStatistics().LeasedBlocks));
        heir.Dispose();
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
    }

    private static void FailWithLeases(BlockStore store)
    {
        using var leases = new LeaseList();
        leases.Add(store.TryLease(StoreFixture.Key(1))!);
        leases.Add(store.TryLease(StoreFixture.Key(2))!);
        throw new InvalidOperationException();
    }
}
