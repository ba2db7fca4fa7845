using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class BlockStoreTests
{
    private static readonly BlockKey Key = StoreFixture.Key(0);

    [Fact]
    public void A_half_written_block_is_never_served()
    {
        using var fixture = new StoreFixture(pages: 4);
        var write = fixture.Reserve(0)!;
        Assert.False(fixture.Store.Contains(Key));
        Assert.Null(fixture.Store.TryLease(Key));
        write.Dispose();
        Assert.Equal(PublishOutcome.Gone, fixture.Store.Publish(Key, write.Generation));
        Assert.Throws<ObjectDisposedException>(() => write.Bytes.Length);
        Assert.Equal(0, fixture.Store.Arena.UsedBytes);
    }

    [Fact]
    public void A_write_is_published_under_its_own_key_only()
    {
        using var fixture = new StoreFixture(pages: 4);
        using var write = fixture.Reserve(0)!;
        Assert.Equal(PublishOutcome.Gone, fixture.Store.Publish(StoreFixture.Key(1), write.Generation));
        Assert.Equal(PublishOutcome.Published, fixture.Store.Publish(Key, write.Generation));
    }

    [Fact]
    public void Of_two_writers_the_first_to_publish_wins()
    {
        using var fixture = new StoreFixture(pages: 4);
        using var slow = fixture.Reserve(0)!;
        using var fast = fixture.Reserve(0)!;
        Assert.Equal(PublishOutcome.Published, fixture.Store.Publish(Key, fast.Generation));
        Assert.Equal(PublishOutcome.AlreadyStored, fixture.Store.Publish(Key, slow.Generation));
        Assert.Equal((fast.Generation, fast.Layout), fixture.Store.Describe(Key));
        Assert.Equal(Arena.PageBytes, fixture.Store.Arena.UsedBytes);
    }

    [Fact]
    public void A_revoked_write_keeps_its_memory_and_is_never_visible()
    {
        using var fixture = new StoreFixture(pages: 1);
        var write = fixture.Reserve(0)!;
        Assert.True(fixture.Store.IsWriting(Key, write.Generation));
        fixture.Store.Revoke(Key, write.Generation);
        Assert.False(fixture.Store.IsWriting(Key, write.Generation));
        Assert.Equal(PublishOutcome.Gone, fixture.Store.Publish(Key, write.Generation));
        write.Bytes.Fill(1);
        Assert.Null(fixture.Reserve(1));
        write.Dispose();
        Assert.NotNull(fixture.Reserve(1));
        fixture.Store.Revoke(Key, write.Generation);
    }

    [Fact]
    public void A_write_is_not_revoked_under_another_key()
    {
        using var fixture = new StoreFixture(pages: 1);
        using var write = fixture.Reserve(0)!;
        var other = StoreFixture.Key(1);
        fixture.Store.Revoke(other, write.Generation);
        Assert.False(fixture.Store.IsWriting(other, write.Generation));
        Assert.True(fixture.Store.IsWriting(Key, write.Generation));
        Assert.Equal(PublishOutcome.Published, fixture.Store.Publish(Key, write.Generation));
    }

    [Fact]
    public void A_removed_block_keeps_its_bytes_until_the_last_lease()
    {
        using var fixture = new StoreFixture(pages: 1);
        fixture.Put(0);
        using var first = fixture.Store.TryLease(Key)!;
        using var second = fixture.Store.TryLease(Key)!;
        Assert.True(fixture.Store.Remove(Key));
        Assert.False(fixture.Store.Contains(Key));
        Assert.Null(fixture.Reserve(1));
        first.Dispose();
        Assert.Null(fixture.Reserve(1));
        Assert.Equal(-1, second.Bytes.IndexOfAnyExcept((byte)0));
        second.Dispose();
        Assert.NotNull(fixture.Reserve(1));
    }

    [Fact]
    public void Only_the_generation_that_was_named_is_removed()
    {
        using var fixture = new StoreFixture(pages: 4);
        fixture.Put(0);
        var generation = fixture.Store.Describe(Key)!.Value.Generation;
        Assert.False(fixture.Store.Remove(Key, RemovalReason.Corrupt, generation + 1));
        Assert.True(fixture.Store.Remove(Key, RemovalReason.Corrupt, generation));
        Assert.False(fixture.Store.Remove(Key));
        Assert.Equal((1, 0), (fixture.Store.GetStatistics().Corrupt, fixture.Store.GetStatistics().Deleted));
    }

    [Fact]
    public void A_store_that_has_seen_a_generation_of_another_does_not_go_on_like_that_one()
    {
        var time = new ManualTime();
        using var one = new BlockStore(Memory.Arena(1), time: time, random: new Random(1));
        using var behind = new BlockStore(Memory.Arena(1), time: time, random: new Random(2));
        var seen = one.NewGeneration();
        behind.Witness(seen);

        ulong[] theirs = [.. Enumerable.Range(0, 1000).Select(_ => one.NewGeneration())];
        ulong[] mine = [.. Enumerable.Range(0, 1000).Select(_ => behind.NewGeneration())];

        Assert.All(mine, generation => Assert.True(generation > seen));
        Assert.Equal(mine.Order(), mine);
        Assert.Empty(mine.Intersect(theirs));
    }

    [Fact]
    public void Two_stores_have_no_generation_in_common()
    {
        using StoreFixture one = new(pages: 1), other = new(pages: 1);
        one.Put(0);
        other.Put(0);
        Assert.NotEqual(one.Store.Describe(Key)!.Value.Generation, other.Store.Describe(Key)!.Value.Generation);
    }

    [Fact]
    public void Memory_that_is_committed_later_is_used_later()
    {
        using var store = new BlockStore(Arena.CreatePrivate(4 * Arena.PageBytes));
        Assert.Null(store.TryReserve(Key, StoreFixture.Layout(1), default));
        store.Arena.Commit(TestContext.Current.CancellationToken);
        using var write = store.TryReserve(Key, StoreFixture.Layout(1), default);
        Assert.NotNull(write);
    }

    [Fact]
    public void A_closed_store_finds_and_reserves_nothing()
    {
        var fixture = new StoreFixture(pages: 2);
        fixture.Put(0);
        fixture.Store.Dispose();
        fixture.Store.Dispose();
        Assert.Null(fixture.Store.TryLease(Key));
        Assert.False(fixture.Store.Contains(Key));
        Assert.Null(fixture.Reserve(1));
    }

    [Fact]
    public void A_closed_store_keeps_its_memory_until_the_last_reader_and_writer()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory("kvcache-").FullName, "arena");
        var store = new BlockStore(Arena.CreateShared(path, 4 * Arena.PageBytes));
        store.Arena.Commit(TestContext.Current.CancellationToken);
        using (var write = store.TryReserve(Key, StoreFixture.Layout(1), default)!)
            store.Publish(Key, write.Generation);
        var lease = store.TryLease(Key)!;
        var unfinished = store.TryReserve(StoreFixture.Key(1), StoreFixture.Layout(1), default)!;

        store.Dispose();
        unfinished.Bytes.Fill(1);
        Assert.Equal(PublishOutcome.Gone, store.Publish(unfinished.Key, unfinished.Generation));
        unfinished.Dispose();
        Assert.Equal(Arena.PageBytes, lease.Bytes.Length);
        Assert.True(File.Exists(path));
        lease.Dispose();
        Assert.False(File.Exists(path));
        Directory.Delete(Path.GetDirectoryName(path)!);
    }

    [Fact]
    public void Leases_and_looks_allocate_one_small_object_or_nothing()
    {
        const int Blocks = 64;
        using var fixture = new StoreFixture(Blocks);
        for (var key = 0; key < Blocks; key++)
            fixture.Put(key, parent: key - 1);
        var hashes = Enumerable.Range(0, Blocks).Select(key => StoreFixture.Key(key).Hash).ToArray();
        var leases = new LeaseList();

        Assert.Equal(0, Allocations.Of(() => fixture.Store.Match(Key.Namespace, hashes)));
        Assert.Equal(0, Allocations.Of(() => fixture.Store.Contains(Key)));
        Assert.InRange(Allocations.Of(() => fixture.Store.TryLease(Key)!.Dispose()), 1, 48);
        Assert.InRange(Allocations.Of(LeaseAll), Blocks, 48 * Blocks);

        void LeaseAll()
        {
            foreach (var hash in hashes)
                leases.Add(fixture.Store.TryLease(Key with { Hash = hash })!);
            leases.Dispose();
        }
    }

    [Fact]
    public void A_block_of_a_megabyte_is_stored_with_small_objects_only()
    {
        using var fixture = new StoreFixture(pages: 1024);
        Assert.InRange(Allocations.Of(() => Assert.True(fixture.Put(0, blockPages: 256) & fixture.Store.Remove(Key))), 1, 1024);
    }
}
