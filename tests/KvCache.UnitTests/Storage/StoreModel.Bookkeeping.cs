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
        block.LastUse = ++_clock;
        _recency.Remove(block);
        block.InRecency = false;
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

    private void Refresh(ModelBlock block)
    {
        if (block.Leases > 0 || block.PinnedUntil != 0)
            return;
        _recency.Add(block);
        block.InRecency = true;
    }

    private void Unpin(ModelBlock block)
    {
        if (block.PinnedUntil == 0)
            return;
        block.PinnedUntil = 0;
        Refresh(block);
    }

    private void Gone(ModelBlock block)
    {
        _visible.Remove(block.Key);
        _recency.Remove(block);
        block.InRecency = false;
        block.PinnedUntil = 0;
        block.Parent = null;
        foreach (var child in _visible.Values.Where(child => child.Parent == block))
            child.Parent = null;
        if (block.Leases == 0)
            _inMemory.Remove(block);
    }

    private void Expire(ModelBlock block)
    {
        Gone(block);
        _expired++;
    }

    private void Evict(ModelBlock block)
    {
        Gone(block);
        _evicted++;
        _evictedBytes += block.Layout.BlockBytes;
    }

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
                Unpin(block);
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

    // The least recently used first, deepest block first, until a run is free; past twice the need, neighbours in memory.
    private void EvictFor(int needed)
    {
        for (var evicted = 0; LongestRun(_ => false) < needed && evicted < 2 * needed;)
        {
            var victim = Victim();
            evicted += victim.Pages;
            Evict(victim);
        }

        if (LongestRun(_ => false) >= needed)
            return;
        var neighbours = _visible.Values.Where(block => _store.Describe(KeyOf(block.Key))?.Generation != block.Generation).ToArray();
        Assert.All(neighbours, block => Assert.True(block.InRecency));
        Assert.True(neighbours.Sum(block => block.Pages) - neighbours.Max(block => block.Pages) < needed,
            "More was evicted than one run takes.");
        foreach (var block in neighbours)
            Evict(block);
        Assert.True(LongestRun(_ => false) >= needed);
    }

    private ModelBlock Victim()
    {
        var leaves = _recency.ConvertAll(Deepest);
        return leaves.Find(leaf => !_visible.Values.Any(block => block.Parent == leaf)) ?? leaves[0];
    }

    private ModelBlock Deepest(ModelBlock block) =>
        _visible.Values.Where(child => child.Parent == block && child.InRecency).MinBy(child => child.LastUse) is { } child
            ? Deepest(child)
            : block;
}
