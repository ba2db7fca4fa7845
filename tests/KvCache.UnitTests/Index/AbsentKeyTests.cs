using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Fault T5: what is not there costs nothing that lasts, and what may still come is kept from coming.</summary>
public sealed class AbsentKeyTests : IDisposable
{
    private const int Absent = 16_384;

    private readonly DirectoryFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void Deletions_of_absent_keys_leave_few_tombstones_and_no_delta()
    {
        for (var i = 0; i < Absent; i++)
            Assert.Equal(
                (false, false),
                (_fixture.Directory.Delete(Keys.Key(i), _fixture.Store.NewGeneration()) is var deletion ? deletion.Removed : true, deletion.Known));
        Assert.Equal((Tombstones.MaxAbsent, 0UL), (_fixture.Directory.Tombstones.Count, _fixture.Directory.Log.Next));
    }

    [Fact]
    public void A_visible_block_is_known_removed_and_told_of_once()
    {
        Store(1);
        var told = _fixture.Directory.Log.Next;
        var deletion = _fixture.Directory.Delete(Keys.Key(1), _fixture.Store.NewGeneration());
        Assert.Equal((true, true), (deletion.Removed, deletion.Known));
        Assert.Equal(told + 1, _fixture.Directory.Log.Next); // that it is gone here
        _fixture.Directory.Announce(Keys.Key(1), deletion.Stamp);
        Assert.Equal(told + 2, _fixture.Directory.Log.Next);
        Assert.False(_fixture.Directory.MayPublish(Keys.Key(1), deletion.Stamp - 1));
    }

    [Fact]
    public void A_block_that_is_being_written_does_not_become_visible_behind_its_deletion()
    {
        using var write = Reserve(1);
        var deletion = _fixture.Directory.Delete(Keys.Key(1), _fixture.Store.NewGeneration());
        Assert.Equal((false, true), (deletion.Removed, deletion.Known));
        Assert.Equal(PublishOutcome.Gone, _fixture.Store.Publish(write.Key, write.Generation));
    }

    [Fact]
    public void Of_several_writes_of_a_key_each_is_known_until_it_ends()
    {
        var writes = new[] { Reserve(1), Reserve(1), Reserve(1) };
        foreach (var i in (int[])[1, 0, 2])
        {
            Assert.True(_fixture.Store.Knows(Keys.Key(1)));
            writes[i].Dispose();
        }

        Assert.False(_fixture.Store.Knows(Keys.Key(1)));
        Assert.False(_fixture.Directory.Delete(Keys.Key(1), _fixture.Store.NewGeneration()).Known);
    }

    [Fact]
    public void A_block_that_another_silo_has_or_that_is_on_its_way_is_known()
    {
        _fixture.Directory.Index.Add(Keys.Key(1), 5);
        _fixture.Directory.UnderWay.Add(key => key == Keys.Key(2));
        Assert.True(_fixture.Directory.Delete(Keys.Key(1), _fixture.Store.NewGeneration()).Known);
        Assert.True(_fixture.Directory.Delete(Keys.Key(2), _fixture.Store.NewGeneration()).Known);
        Assert.Equal(2, _fixture.Directory.Tombstones.Count);
    }

    private BlockWrite Reserve(int key) => _fixture.Store.TryReserve(Keys.Key(key), KvLayout.Opaque(16, 1), default)!;

    private void Store(int key)
    {
        using var write = Reserve(key);
        Assert.Equal(PublishOutcome.Published, _fixture.Store.Publish(write.Key, write.Generation));
    }
}
