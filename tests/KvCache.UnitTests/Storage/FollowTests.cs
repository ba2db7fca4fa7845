using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Reading blocks that are still being written.</summary>
public sealed class FollowTests : IDisposable
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(30);
    private static readonly BlockKey Key = StoreFixture.Key(0);
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 1024, 2048, 4096], 1);

    private readonly StoreFixture _fixture = new(pages: 2);

    private BlockStore Store => _fixture.Store;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task A_follower_waits_for_the_first_layer_and_then_for_each_and_gets_the_last_with_the_publication()
    {
        var following = Task.Run(() => Store.Follow(Key, Bound), Token);
        using var write = Reserve();
        write.Bytes.Fill(1);
        Assert.False(following.IsCompleted);
        write.Complete(1);
        using var block = (await following)!;
        Assert.Equal(write.Generation, block.Lease.Generation);
        Assert.Equal(1, block.WaitFor(1, Bound));
        Assert.Equal(1, block.WaitFor(2, TimeSpan.Zero));
        var second = Task.Run(() => block.WaitFor(2, Bound), Token);
        write.Complete(2);
        Assert.Equal(2, await second);
        write.Complete(3); // whether the block is whole is not known yet
        Assert.Equal(2, block.WaitFor(3, TimeSpan.Zero));
        Assert.False(Store.Contains(Key));
        Assert.Null(Store.TryLease(Key));
        var last = Task.Run(() => block.WaitFor(3, Bound), Token);
        Assert.Equal(PublishOutcome.Published, Store.Publish(Key, write.Generation));
        Assert.Equal(3, await last);
        Assert.Equal(1, block.Lease.Bytes[^1]);
    }

    [Theory]
    [InlineData("given up")]
    [InlineData("revoked")]
    [InlineData("deleted")]
    public async Task The_end_of_a_write_is_told_and_its_memory_waits_for_the_follower(string how)
    {
        var write = Reserve();
        write.Complete(2);
        using var block = Store.Follow(Key, TimeSpan.Zero)!;
        var waiting = Task.Run(() => block.WaitFor(3, Bound), Token);
        switch (how)
        {
            case "given up": write.Dispose(); break;
            case "revoked": Store.Revoke(Key, write.Generation); break;
            default: Assert.False(Store.Bury(Key, Store.NewGeneration())); break;
        }

        Assert.Equal(0, await waiting);
        Assert.Equal(0, block.WaitFor(1, Bound)); // what was complete is worthless too
        Assert.Null(Store.Follow(Key, TimeSpan.Zero));
        write.Dispose();
        Assert.Equal(Arena.PageBytes, Store.Arena.UsedBytes);
        Assert.Equal(4096, block.Lease.Bytes.Length);
        block.Dispose();
        Assert.Equal(0, Store.Arena.UsedBytes);
        Assert.Equal(0, Store.GetStatistics().LeasedBlocks);
    }

    [Fact]
    public void A_block_that_was_followed_can_be_evicted_when_the_follower_has_left_and_not_before()
    {
        using var write = Reserve();
        write.Complete(1);
        var block = Store.Follow(Key, TimeSpan.Zero)!;
        Assert.Equal(PublishOutcome.Published, Store.Publish(Key, write.Generation));
        Assert.True(_fixture.Put(1));
        Assert.True(_fixture.Put(2)); // takes the place of 1
        Assert.Equal([0, 2], _fixture.Visible(3));
        block.Dispose();
        Assert.True(_fixture.Put(3));
        Assert.True(_fixture.Put(4));
        Assert.Equal([3, 4], _fixture.Visible(5));
    }

    [Fact]
    public void A_follower_who_leaves_first_changes_nothing_for_the_writer()
    {
        using var write = Reserve();
        write.Complete(1);
        Store.Follow(Key, TimeSpan.Zero)!.Dispose();
        Assert.False(_fixture.Put(1, blockPages: 2)); // the write's memory is not free
        write.Bytes.Fill(7);
        Assert.Equal(PublishOutcome.Published, Store.Publish(Key, write.Generation));
        Assert.True(_fixture.Put(1) && _fixture.Put(2));
        Assert.Equal([1, 2], _fixture.Visible(3));
    }

    [Fact]
    public void Of_two_writes_the_loser_s_bytes_are_as_good_as_the_winner_s()
    {
        using BlockWrite slow = Reserve(), fast = Reserve();
        slow.Complete(1);
        using var block = Store.Follow(Key, TimeSpan.Zero)!;
        Assert.Equal(PublishOutcome.Published, Store.Publish(Key, fast.Generation));
        Assert.Equal(1, block.WaitFor(3, TimeSpan.Zero));
        Assert.Equal(PublishOutcome.AlreadyStored, Store.Publish(Key, slow.Generation));
        Assert.Equal(3, block.WaitFor(3, TimeSpan.Zero));
        Assert.Equal(slow.Generation, block.Lease.Generation);
        block.Dispose();
        Assert.Equal(Arena.PageBytes, Store.Arena.UsedBytes);
    }

    [Fact]
    public void What_nobody_writes_is_waited_for_with_patience_and_not_longer()
    {
        Assert.Null(Store.Follow(Key, TimeSpan.FromMilliseconds(20)));
        using var write = Reserve(); // no layer is complete
        Assert.Null(Store.Follow(Key, TimeSpan.FromMilliseconds(20)));
        Assert.True(_fixture.Put(1));
        using var stored = Store.Follow(StoreFixture.Key(1), TimeSpan.Zero)!;
        Assert.Equal(1, stored.WaitFor(1, TimeSpan.Zero));
    }

    private BlockWrite Reserve() => Store.TryReserve(Key, Layout, default)!;
}
