using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Fault C7: a deletion holds for what was under way, also when more deletions came behind it than are remembered.</summary>
public sealed class ForgottenDeletionTests : IDisposable
{
    private const int Remembered = 8;
    private static readonly KvLayout Layout = KvLayout.Opaque(16, 1);

    private readonly BlockDirectory _directory = new(new PrefixIndex(), new IndexLog(), new Tombstones(capacity: Remembered));
    private readonly BlockStore _store;

    public ForgottenDeletionTests()
    {
        _store = new BlockStore(Memory.Arena(4), observer: _directory);
        _directory.Attach(_store);
    }

    public void Dispose() => _store.Dispose();

    [Fact]
    public void A_put_that_was_under_way_does_not_become_visible()
    {
        using var write = _store.TryReserve(Keys.Key(1), Layout, default)!;
        DeleteAndForget(Keys.Key(1));
        Assert.Equal(PublishOutcome.Gone, _store.Publish(write.Key, write.Generation));
    }

    [Fact]
    public void A_copy_or_a_payload_of_a_deleted_generation_does_not_become_visible()
    {
        var generation = _store.NewGeneration();
        _directory.Index.Add(Keys.Key(1), 5); // another silo has it
        DeleteAndForget(Keys.Key(1));
        using var copy = _store.TryReserve(Keys.Key(1), Layout, default, generation)!;
        Assert.Equal(PublishOutcome.Gone, _store.Publish(copy.Key, copy.Generation));
    }

    [Fact]
    public void What_begins_behind_it_becomes_visible()
    {
        _directory.Index.Add(Keys.Key(1), 5);
        DeleteAndForget(Keys.Key(1));
        using var write = _store.TryReserve(Keys.Key(1), Layout, default)!;
        Assert.Equal(PublishOutcome.Published, _store.Publish(write.Key, write.Generation));
    }

    private void DeleteAndForget(BlockKey key)
    {
        Assert.True(_directory.Delete(key, _store.NewGeneration()).Known);
        for (var other = 100; other < 100 + (2 * Remembered); other++)
        {
            _directory.Index.Add(Keys.Key(other), 5);
            _directory.Delete(Keys.Key(other), _store.NewGeneration());
        }

        Assert.Equal(Remembered, _directory.Tombstones.Count);
    }
}
