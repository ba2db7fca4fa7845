using KvCache.Engine.Storage;
using KvCache.UnitTests.Support;

namespace KvCache.UnitTests.Storage;

/// <summary>A small store with a clock that stands, and short ways to fill it.</summary>
internal sealed class StoreFixture : IDisposable
{
    private static readonly NamespaceId Namespace = new(new TenantId(1), 2);

    /// <summary>Creates a store that evicts by plain recency, unless the options say otherwise.</summary>
    public StoreFixture(int pages, BlockStoreOptions? options = null) =>
        Store = new BlockStore(Memory.Arena(pages), options ?? new BlockStoreOptions { Eviction = "lru/t" }, Time);

    public ManualTime Time { get; } = new();

    public BlockStore Store { get; }

    public static BlockKey Key(int number) => new(Namespace, PrefixHasher.HashBlock(PrefixHasher.TokenRoot, [number]));

    public static KvLayout Layout(int pages) => KvLayout.Opaque(pages * Arena.PageBytes, 1);

    public BlockWrite? Reserve(int key, int blockPages = 1, int? parent = null) =>
        Store.TryReserve(Key(key), Layout(blockPages), new BlockLineage(parent is { } number ? Key(number).Hash : default, 0, 0, 0));

    /// <summary>Stores a block whose bytes are all its key; false when the store refuses.</summary>
    public bool Put(int key, int blockPages = 1, int? parent = null, TimeSpan? life = null)
    {
        using var write = Reserve(key, blockPages, parent);
        write?.Bytes.Fill((byte)key);
        return write is not null && Store.Publish(write.Key, write.Generation, life) == PublishOutcome.Published;
    }

    /// <summary>Counts a use.</summary>
    public void Use(int key) => Store.TryLease(Key(key))!.Dispose();

    public int[] Visible(int keys) => [.. Enumerable.Range(0, keys).Where(key => Store.Contains(Key(key)))];

    public void Dispose() => Store.Dispose();
}
