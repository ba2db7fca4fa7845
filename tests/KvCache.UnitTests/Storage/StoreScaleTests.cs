using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Eviction;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What the store does under its lock does not grow with the blocks that it has. Steps are counted; time is not.</summary>
public sealed class StoreScaleTests
{
    private const int Blocks = 20_000;

    public static TheoryData<string> Policies => [.. EvictionPolicies.Names];

    [Theory]
    [MemberData(nameof(Policies))]
    public void A_put_into_a_full_store_takes_as_many_steps_however_many_children_one_prefix_has(string policy)
    {
        using var fixture = new StoreFixture(Blocks, new BlockStoreOptions { Eviction = policy });
        fixture.Put(0);
        for (var key = 1; key < Blocks; key++)
            Assert.True(fixture.Put(key, parent: 0));
        var before = fixture.Store.Steps;
        for (var key = Blocks; key < Blocks + 1000; key++)
        {
            fixture.Time.Advance(TimeSpan.FromMilliseconds(1));
            Assert.True(fixture.Put(key, parent: 0));
        }

        Assert.InRange(fixture.Store.Steps - before, 1, 20 * 1000);
        Assert.Contains(0, fixture.Visible(1));
    }

    [Fact]
    public void A_refused_put_looks_at_nothing_where_all_is_held()
    {
        using var fixture = new StoreFixture(Blocks);
        var leases = new List<BlockLease>(Blocks);
        for (var key = 0; key < Blocks; key++)
        {
            fixture.Put(key);
            leases.Add(fixture.Store.TryLease(StoreFixture.Key(key))!);
        }

        var before = fixture.Store.Steps;
        Assert.Null(fixture.Reserve(Blocks));
        Assert.InRange(fixture.Store.Steps - before, 0, 10);
        leases.ForEach(lease => lease.Dispose());
    }

    [Fact]
    public void A_put_that_finds_no_run_of_memory_looks_at_a_bounded_part_of_the_arena()
    {
        using var fixture = new StoreFixture(Blocks);
        var leases = new List<BlockLease>(Blocks);
        for (var key = 0; key < Blocks; key++)
        {
            fixture.Put(key);
            if (key % 2 == 0)
                leases.Add(fixture.Store.TryLease(StoreFixture.Key(key))!);
        }

        var before = fixture.Store.Steps;
        Assert.Null(fixture.Reserve(Blocks, blockPages: 2));
        Assert.InRange(fixture.Store.Steps - before, 1, 5000);
        Assert.Equal(Blocks, fixture.Store.GetStatistics().Blocks);
        leases.ForEach(lease => lease.Dispose());
        Assert.NotNull(fixture.Reserve(Blocks, blockPages: 2));
    }

    [Fact]
    public void Many_expiries_at_once_go_in_slices_that_the_log_of_changes_can_tell()
    {
        var time = new ManualTime();
        var directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones());
        using var store = new BlockStore(Memory.Arena(2 * Blocks), time: time, observer: directory);
        directory.Attach(store);
        for (var key = 0; key < 2 * Blocks; key++)
        {
            using var write = store.TryReserve(StoreFixture.Key(key), StoreFixture.Layout(1), default);
            store.Publish(write!.Key, write.Generation, TimeSpan.FromSeconds(1));
        }

        time.Advance(TimeSpan.FromSeconds(1));
        var told = directory.Log.Next;
        var more = true;
        for (var sweeps = 0; more; sweeps++)
        {
            Assert.InRange(sweeps, 0, 10);
            more = store.Sweep();
            Assert.InRange(directory.Log.Next - told, 0u, IndexLog.DefaultCapacity / 4u);
            told = directory.Log.Next;
        }

        Assert.Equal(0, store.GetStatistics().Blocks);
    }

    [Fact]
    public void A_put_into_an_arena_of_expired_blocks_drops_no_more_of_them_than_it_needs()
    {
        using var fixture = new StoreFixture(pages: 1000);
        for (var key = 0; key < 1000; key++)
            fixture.Put(key, life: TimeSpan.FromSeconds(1));
        fixture.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.True(fixture.Put(1000));
        Assert.Equal(1, fixture.Store.GetStatistics().Expired);
        Assert.Equal(0, fixture.Store.GetStatistics().Evicted);
    }

    [Fact]
    public void Blocks_that_are_collected_in_slices_are_each_seen_once()
    {
        using var fixture = new StoreFixture(Blocks);
        for (var key = 0; key < Blocks; key++)
            fixture.Put(key, parent: key % 3 == 0 ? null : key - 1);
        var keys = new List<BlockKey>();
        fixture.Store.CollectOf(StoreFixture.Key(0).Namespace, keys);
        Assert.Equal(Blocks, keys.Distinct().Count());
        Assert.Equal(Blocks, keys.Count);
    }
}
