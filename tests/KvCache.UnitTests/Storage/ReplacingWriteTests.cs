using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ReplacingWriteTests
{
    private static readonly BlockKey Key = StoreFixture.Key(0);
    private static readonly KvLayout Layout = StoreFixture.Layout(1);

    private readonly Tombstones _tombstones = new();
    private readonly BlockDirectory _directory;

    public ReplacingWriteTests() => _directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), _tombstones);

    [Fact]
    public void Of_two_replacing_writes_the_one_that_is_published_last_is_the_newest_whichever_began_first()
    {
        using var store = CreateStore();
        using var early = store.TryReserve(Key, Layout, default)!;
        using var late = store.TryReserve(Key, Layout, default)!;
        Assert.Equal(PublishOutcome.Published, store.Publish(Key, late.Generation, replace: true));
        Assert.Equal(PublishOutcome.Published, store.Publish(Key, early.Generation, replace: true));
        Assert.True(early.Generation > late.Generation);
        Assert.Equal(early.Generation, store.Describe(Key)?.Generation);
        Assert.Equal(Arena.PageBytes, store.Arena.UsedBytes);
    }

    [Fact]
    public void A_deletion_counts_when_it_comes_behind_the_publication_and_not_when_it_came_before()
    {
        using var store = CreateStore();
        using var write = store.TryReserve(Key, Layout, default)!;
        var stamp = store.NewGeneration();
        _tombstones.Bury(Key, stamp);
        Assert.Equal(PublishOutcome.Published, store.Publish(Key, write.Generation, replace: true));
        Assert.False(store.Bury(Key, stamp));
        Assert.True(store.Bury(Key, store.NewGeneration()));
        Assert.False(store.Contains(Key));
    }

    [Fact]
    public async Task A_replacing_write_is_published_while_another_silo_replaces_the_same_key()
    {
        using var store = CreateStore();
        using var done = new CancellationTokenSource();
        var heard = 0;
        var other = Task.Run(() =>
        {
            for (; !done.IsCancellationRequested; heard++)
                _directory.Bury(Key, store.NewGeneration() + (1UL << GenerationClock.Shift)); // its clock is a millisecond ahead
        });
        for (var i = 0; i < 20_000 || Volatile.Read(ref heard) < 20_000; i++)
        {
            using var write = store.TryReserve(Key, Layout, default)!;
            Assert.Equal(PublishOutcome.Published, store.Publish(Key, write.Generation, replace: true));
        }

        await done.CancelAsync();
        await other;
    }

    [Fact]
    public void A_write_that_gives_way_finds_a_replacing_one_stored()
    {
        using var store = CreateStore();
        using var granted = store.TryReserve(Key, Layout, default)!;
        using var replacing = store.TryReserve(Key, Layout, default)!;
        Assert.Equal(PublishOutcome.Published, store.Publish(Key, replacing.Generation, replace: true));
        Assert.Equal(PublishOutcome.AlreadyStored, store.Publish(Key, granted.Generation));
        replacing.Dispose(); // published: it has nothing to give back
        Assert.True(store.Contains(Key));
    }

    [Fact]
    public void A_reader_of_a_replaced_block_keeps_its_bytes()
    {
        using var store = CreateStore();
        using (var first = store.TryReserve(Key, Layout, default)!)
        {
            first.Bytes.Fill(1);
            store.Publish(Key, first.Generation, replace: true);
        }

        using var lease = store.TryLease(Key)!;
        using (var second = store.TryReserve(Key, Layout, default)!)
        {
            second.Bytes.Fill(2);
            store.Publish(Key, second.Generation, replace: true);
        }

        Assert.Equal(-1, lease.Bytes.IndexOfAnyExcept((byte)1));
        using var newer = store.TryLease(Key)!;
        Assert.Equal(-1, newer.Bytes.IndexOfAnyExcept((byte)2));
    }

    [Fact]
    public void A_layer_is_copied_without_a_use_and_only_where_it_fits()
    {
        using var store = CreateStore();
        using var write = store.TryReserve(Key, KvLayout.Opaque([0, 100, 103], 1), default)!;
        "abc"u8.CopyTo(write.Bytes[100..]);
        Span<byte> label = stackalloc byte[3];
        Assert.Equal(0, store.CopyLayer(Key, 1, label));
        store.Publish(Key, write.Generation, TimeSpan.FromHours(1));
        Assert.Equal(3, store.CopyLayer(Key, 1, label));
        Assert.True(label.SequenceEqual("abc"u8));
        Assert.Equal(0, store.CopyLayer(Key, 2, label)); // 100 bytes
        Assert.Equal(0, store.CopyLayer(Key, 3, label)); // no such layer
        Assert.Equal(103, store.Peek(Key)?.Layout.BlockBytes);
        Assert.NotNull(store.Peek(Key)?.ExpiresAt);
        Assert.Null(store.Peek(StoreFixture.Key(1)));
    }

    private BlockStore CreateStore()
    {
        var store = new BlockStore(Memory.Arena(8), observer: _directory);
        _directory.Attach(store);
        return store;
    }
}
