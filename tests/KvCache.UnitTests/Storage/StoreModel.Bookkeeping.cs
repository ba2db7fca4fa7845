using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KvCache.Engine.Storage;
using KvCache.Eviction;
using Xunit;

namespace KvCache.UnitTests.Storage;

internal sealed partial class StoreModel
{
    private static readonly NamespaceId Namespace = new(new TenantId(1), 2);

    private static int ParentOf(int key) => key == 0 ? -1 : (key - 1) / 2; // a binary tree of prefixes

    private static int[] ChainOf(int key) => key < 0 ? [] : [.. ChainOf(ParentOf(key)), key];

    private static BlockHash HashOf(int key)
    {
        Span<byte> bytes = stackalloc byte[BlockHash.Size];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, key + 1);
        return new BlockHash(bytes);
    }

    private static BlockKey KeyOf(int key) => new(Namespace, HashOf(key));

    private static Span<ulong> Words(Span<byte> bytes) => MemoryMarshal.Cast<byte, ulong>(bytes);

    private static T Take<T>(List<T> list, int number)
    {
        var taken = list[number % list.Count];
        list.Remove(taken);
        return taken;
    }

    private static void Verify(BlockLease lease, ModelBlock block)
    {
        Assert.Equal((KeyOf(block.Key), block.Generation, block.Layout), (lease.Key, lease.Generation, lease.Layout));
        Assert.Equal(block.Layout.BlockBytes, lease.Bytes.Length);
        Assert.Equal(-1, MemoryMarshal.Cast<byte, ulong>(lease.Bytes).IndexOfAnyExcept(block.Pattern));
        Assert.Equal(-1, lease.Checksums.IndexOfAnyExcept((uint)block.Pattern));
    }

    private void Leased(BlockLease lease, ModelBlock block)
    {
        _leases.Add((lease, block));
        block.Leases++;
        Verify(lease, block);
    }

    private ModelBlock? Find(int key)
    {
        if (_visible.GetValueOrDefault(key) is not { } block)
            return null;
        if (block.ExpiresAt > Now)
            return block;
        Expire(block);
        return null;
    }

    private void Gone(ModelBlock block)
    {
        _visible.Remove(block.Key);
        block.PinnedUntil = 0;
        if (block.Leases == 0)
            _inMemory.Remove(block);
    }

    private void Expire(ModelBlock block)
    {
        Gone(block);
        _expired++;
    }

    // Each goes as the end of its chain: nothing that stays comes behind it.
    private void Evict(IReadOnlyCollection<ModelBlock> blocks)
    {
        foreach (var block in blocks)
        {
            Gone(block);
            _evicted++;
            _evictedBytes += block.Layout.BlockBytes;
        }

        Assert.All(blocks, block => Assert.DoesNotContain(_visible.Keys, key => ParentOf(key) == block.Key));
    }

    private List<ModelBlock> Evicted() =>
        [.. _visible.Values.Where(block => _store.Describe(KeyOf(block.Key))?.Generation != block.Generation)];

    private HashSet<ModelBlock> EvictableNow(Func<int, bool> isKept) => [.. _visible.Values.Where(block => CanGo(block, isKept))];

    private bool CanGo(ModelBlock block, Func<int, bool> isKept) =>
        _visible.GetValueOrDefault(block.Key) == block && block is { Leases: 0, PinnedUntil: 0 } && !isKept(block.Key);

    private bool IsWritten(int key) => key == _reserving || _writes.Exists(write => write.Block.Key == key);

    private bool IsHeld(int key) => _visible.GetValueOrDefault(key) is { } block && (block.Leases > 0 || block.PinnedUntil != 0);

    private static IEnumerable<int> ChildrenOf(int key) => Enumerable.Range(0, Keys).Where(child => ParentOf(child) == key);

    // What comes before a held block, or before one that is being written, in an unbroken chain.
    private bool IsKeptForSure(int key) =>
        ChildrenOf(key).Any(child => IsWritten(child) || (_visible.ContainsKey(child) && (IsHeld(child) || IsKeptForSure(child))));

    // The same for a chain with holes, which the store may or may not have known when they were none.
    private bool MayBeKept(int key) => ChildrenOf(key).Any(child => IsWritten(child) || IsHeld(child) || MayBeKept(child));

    private void Queue(ModelBlock block, long due) => _deadlines.Add((due, block));

    private void Sweep()
    {
        foreach (var (due, block) in _deadlines.Where(deadline => deadline.Due <= Now).OrderBy(deadline => deadline.Due).ToArray())
        {
            _deadlines.Remove((due, block));
            if (_visible.GetValueOrDefault(block.Key) != block)
                continue;
            if (block.ExpiresAt <= Now)
                Expire(block);
            else if (block.PinnedUntil <= Now)
                block.PinnedUntil = 0;
        }
    }

    private int LongestRun(Func<ModelBlock, bool> evictable)
    {
        var taken = new bool[Pages];
        foreach (var block in _inMemory.Where(block => !evictable(block)))
            taken.AsSpan(block.FirstPage, block.Pages).Fill(true);
        int longest = 0, run = 0;
        foreach (var page in taken)
            longest = Math.Max(longest, run = page ? 0 : run + 1);
        return longest;
    }
}
