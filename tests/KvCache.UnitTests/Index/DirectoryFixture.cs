using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Support;

namespace KvCache.UnitTests.Index;

/// <summary>A small store, and what its silo knows and tells of it.</summary>
internal sealed class DirectoryFixture : IDisposable
{
    /// <param name="tombstones">What remembers deletions; null for one as a silo has it.</param>
    public DirectoryFixture(Tombstones? tombstones = null)
    {
        Directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), tombstones ?? new Tombstones());
        Store = new BlockStore(Memory.Arena(4), observer: Directory);
        Directory.Attach(Store);
    }

    public BlockDirectory Directory { get; }

    public BlockStore Store { get; }

    public void Dispose() => Store.Dispose();
}
