using KvCache.Engine.Storage;

namespace KvCache.UnitTests.Storage;

/// <summary>What <see cref="StoreModel"/> knows of one generation of a block that has memory.</summary>
internal sealed class ModelBlock(int key, ulong generation, KvLayout layout, long offset)
{
    public int Key => key;

    public ulong Generation => generation;

    public KvLayout Layout => layout;

    public int FirstPage { get; } = (int)(offset / Arena.PageBytes);

    public int Pages { get; } = PagesOf(layout);

    /// <summary>Every eight bytes of the block.</summary>
    public ulong Pattern { get; } = (generation * 0x9E3779B97F4A7C15) ^ (ulong)key;

    public bool Revoked { get; set; }

    public int Leases { get; set; }

    public long ExpiresAt { get; set; } = long.MaxValue;

    public long PinnedUntil { get; set; }

    public static int PagesOf(KvLayout layout) => PageAllocator.RoundUp((layout.BlockBytes + Arena.PageBytes - 1) / Arena.PageBytes);
}
