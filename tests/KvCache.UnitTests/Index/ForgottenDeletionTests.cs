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

    private readonly DirectoryFixture _fixture = new(new Tombstones(capacity: Remembered));

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void A_put_that_was_under_way_does_not_become_visible()
    {
        using var write = _fixture.Store.TryReserve(Keys.Key(1), Layout, default)!;
        DeleteAndForget(Keys.Key(1));
        Assert.Equal(PublishOutcome.Gone, _fixture.Store.Publish(write.Key, write.Generation));
    }

    [Fact]
    public void A_copy_or_a_payload_of_a_deleted_generation_does_not_become_visible()
    {
        var generation = _fixture.Store.NewGeneration();
        _fixture.Directory.Index.Add(Keys.Key(1), 5); // another silo has it
        DeleteAndForget(Keys.Key(1));
        using var copy = _fixture.Store.TryReserve(Keys.Key(1), Layout, default, generation)!;
        Assert.Equal(PublishOutcome.Gone, _fixture.Store.Publish(copy.Key, copy.Generation));
    }

    [Fact]
    public void What_begins_behind_it_becomes_visible()
    {
        _fixture.Directory.Index.Add(Keys.Key(1), 5);
        DeleteAndForget(Keys.Key(1));
        using var write = _fixture.Store.TryReserve(Keys.Key(1), Layout, default)!;
        Assert.Equal(PublishOutcome.Published, _fixture.Store.Publish(write.Key, write.Generation));
    }

    private void DeleteAndForget(BlockKey key)
    {
        Assert.True(_fixture.Directory.Delete(key, _fixture.Store.NewGeneration()).Known);
        for (var other = 100; other < 100 + (2 * Remembered); other++)
        {
            _fixture.Directory.Index.Add(Keys.Key(other), 5);
            _fixture.Directory.Delete(Keys.Key(other), _fixture.Store.NewGeneration());
        }

        Assert.Equal(Remembered, _fixture.Directory.Tombstones.Count);
    }
}
