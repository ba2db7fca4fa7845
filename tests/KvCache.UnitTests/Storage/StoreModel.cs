using System.Runtime.InteropServices;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests.Storage;

/// <summary>
/// What a <see cref="BlockStore"/> promises, written naively: lists, loops and a map of pages. Every method does one operation on
/// the store and on itself and compares.
/// </summary>
internal sealed partial class StoreModel : IDisposable
{
    public const int Pages = 64;
    public const int Keys = 15;

    // 1, 3, 7, 20 and 40 pages; the last byte counts as a whole page.
    public static readonly KvLayout[] Layouts =
        [.. new[] { 64, 2 * 4096 + 8, 7 * 4096, 20 * 4096, 40 * 4096 }.Select(bytes => KvLayout.Opaque(bytes, 1))];

    private readonly ManualTime _time = new();
    private readonly BlockStore _store;
    private readonly Dictionary<int, ModelBlock> _visible = [];
    private readonly HashSet<ModelBlock> _inMemory = [];
    private readonly List<(BlockWrite Write, ModelBlock Block)> _writes = [];
    private readonly List<(BlockLease Lease, ModelBlock Block)> _leases = [];
    private readonly List<(long Due, ModelBlock Block)> _deadlines = [];
    private long _published, _evicted, _evictedBytes, _expired, _deleted, _corrupt, _refused;
    private int _pins, _reserving = -1;

    public StoreModel(string policy) =>
        _store = new BlockStore(Memory.Arena(Pages), new BlockStoreOptions { MaxPinnedShare = 0.5, Eviction = policy }, _time);

    private long Now => _time.GetUtcNow().UtcTicks;

    private long PinnedBytes => _visible.Values.Where(block => block.PinnedUntil != 0).Sum(block => (long)block.Pages * Arena.PageBytes);

    public void Dispose() => _store.Dispose();

    public void Reserve(int number, int size)
    {
        SweepBoth();
        int key = number % Keys, parent = ParentOf(key), needed = ModelBlock.PagesOf(Layouts[size]);
        var isPrefixHere = parent < 0 || Find(parent) is not null || IsWritten(parent);
        var free = LongestRun(_ => false);
        _reserving = key;
        var (surely, perhaps) = (LongestRun(block => CanGo(block, IsKeptForSure)), LongestRun(block => CanGo(block, MayBeKept)));
        var before = EvictableNow(IsKeptForSure);
        _reserving = -1;
        var write = _store.TryReserve(KeyOf(key), Layouts[size], new BlockLineage(HashOf(parent), 0, 0, 0), request: 0, out var refusal);
        if (write is null)
        {
            Assert.True((isPrefixHere ? perhaps : free) < needed, $"There was room, and not {refusal}.");
            Assert.Empty(Evicted());
            _refused++;
            return;
        }

        Assert.True((isPrefixHere ? surely : free) >= needed, "Something went that had to stay.");
        var evicted = Evicted();
        Assert.True(free < needed || evicted.Count == 0, "Something went that nobody needed.");
        Assert.True(_inMemory.Any(block => block.Pages != needed) || evicted.Count <= 1, "More went than one block takes.");
        Assert.All(evicted, block => Assert.Contains(block, before));
        Assert.DoesNotContain(evicted, block => block.Key == parent);
        Evict(evicted);
        Assert.True(LongestRun(_ => false) >= needed);
        Look();
        var block = new ModelBlock(key, write.Generation, Layouts[size], write.Entry.Offset);
        Assert.DoesNotContain(
            _inMemory, other => other.FirstPage < block.FirstPage + block.Pages && block.FirstPage < other.FirstPage + other.Pages);
        Assert.InRange(block.FirstPage, 0, Pages - block.Pages);
        _inMemory.Add(block);
        _writes.Add((write, block));
        Words(write.Bytes).Fill(block.Pattern);
        write.Checksums.Fill((uint)block.Pattern);
    }

    public void Publish(int number, int milliseconds)
    {
        if (_writes.Count == 0)
            return;
        var (write, block) = Take(_writes, number);
        TimeSpan? life = milliseconds % 3 == 0 ? TimeSpan.FromMilliseconds(milliseconds) : null;
        var outcome = _store.Publish(write.Key, write.Generation, life);
        write.Dispose();
        Assert.Throws<ObjectDisposedException>(() => write.Bytes.Length);
        Assert.False(_store.IsWriting(write.Key, write.Generation));
        Assert.Equal(PublishOutcome.Gone, _store.Publish(write.Key, write.Generation));
        if (block.Revoked)
        {
            Assert.Equal(PublishOutcome.Gone, outcome);
            _inMemory.Remove(block);
            return;
        }

        if (Find(block.Key) is not null)
        {
            Assert.Equal(PublishOutcome.AlreadyStored, outcome);
            _inMemory.Remove(block);
            return;
        }

        Assert.Equal(PublishOutcome.Published, outcome);
        _published++;
        _visible.Add(block.Key, block);
        if (life is { } span)
            Queue(block, block.ExpiresAt = Now + span.Ticks);
    }

    public void Revoke(int number)
    {
        if (_writes.Count == 0)
            return;
        var (write, block) = _writes[number % _writes.Count];
        Assert.Equal(!block.Revoked, _store.IsWriting(write.Key, write.Generation));
        _store.Revoke(write.Key, write.Generation);
        block.Revoked = true;
        Assert.False(_store.IsWriting(write.Key, write.Generation));
    }

    public void Abandon(int number)
    {
        if (_writes.Count == 0)
            return;
        var (write, block) = Take(_writes, number);
        write.Dispose();
        write.Dispose();
        _inMemory.Remove(block);
    }

    public void Lease(int number)
    {
        var key = number % Keys;
        var lease = _store.TryLease(KeyOf(key));
        var block = Find(key);
        Assert.Equal(block is null, lease is null);
        if (block is not null)
            Leased(lease!, block);
    }

    public void LeaseChain(int number, int pages)
    {
        var leases = new LeaseList();
        long bytes = 0;
        foreach (var key in ChainOf(number % Keys))
        {
            var lease = pages % 2 == 0 ? _store.TryHold(KeyOf(key)) : _store.TryLease(KeyOf(key));
            var block = Find(key);
            Assert.Equal(block is null, lease is null);
            if (block is null)
                break;
            bytes += block.Pages * Arena.PageBytes;
            Assert.Equal(bytes <= (long)pages * Arena.PageBytes, leases.TryAdd(lease!, (long)pages * Arena.PageBytes));
            if (bytes > leases.Bytes)
                break;
            Leased(lease!, block);
        }
    }

    public void Release(int number)
    {
        if (_leases.Count == 0)
            return;
        var (lease, block) = Take(_leases, number);
        Verify(lease, block);
        lease.Dispose();
        lease.Dispose();
        Assert.Throws<ObjectDisposedException>(() => lease.Bytes.Length);
        if (--block.Leases > 0)
            return;
        if (_visible.GetValueOrDefault(block.Key) != block)
            _inMemory.Remove(block);
    }

    public void Remove(int number, int how)
    {
        var key = number % Keys;
        var known = _visible.GetValueOrDefault(key);
        ulong? generation = (how % 3) switch { 0 => null, 1 => known?.Generation ?? 1, _ => 1 };
        var reason = how % 2 == 0 ? RemovalReason.Deleted : RemovalReason.Corrupt;
        var removed = _store.Remove(KeyOf(key), reason, generation);
        var block = Find(key);
        Assert.Equal(block is not null && (generation is null || generation == block.Generation), removed);
        if (!removed)
            return;
        Gone(block!);
        _ = reason == RemovalReason.Corrupt ? _corrupt++ : _deleted++;
    }

    public void Pin(int number, int milliseconds)
    {
        var key = number % Keys;

        // No two pins end at the same tick, so that the order in which they end is defined.
        var duration = milliseconds % 4 == 0 ? TimeSpan.Zero : TimeSpan.FromMilliseconds(milliseconds) + TimeSpan.FromTicks(_pins++);
        Sweep();
        var pinned = _store.Pin(KeyOf(key), duration);
        if (_visible.GetValueOrDefault(key) is not { } block)
        {
            Assert.False(pinned);
        }
        else if (duration == TimeSpan.Zero)
        {
            Assert.True(pinned);
            block.PinnedUntil = 0;
        }
        else
        {
            Assert.Equal(block.PinnedUntil != 0 || PinnedBytes + (block.Pages * Arena.PageBytes) <= Pages * Arena.PageBytes / 2, pinned);
            if (!pinned)
                return;
            Queue(block, block.PinnedUntil = Now + duration.Ticks);
        }
    }

    public void SetTimeToLive(int number, int milliseconds)
    {
        var key = number % Keys;
        var life = TimeSpan.FromMilliseconds(milliseconds);
        var set = _store.SetTimeToLive(KeyOf(key), life);
        Assert.Equal(Find(key) is not null, set);
        if (set)
            Queue(_visible[key], _visible[key].ExpiresAt = Now + life.Ticks);
    }

    public void Match(int number)
    {
        int[] chain = ChainOf(number % Keys);
        var found = _store.Match(Namespace, [.. chain.Select(HashOf)]);
        Assert.Equal(chain.TakeWhile(key => Find(key) is not null).Count(), found);
    }

    public void Look()
    {
        for (var key = 0; key < Keys; key++)
        {
            var block = Find(key);
            Assert.Equal(block is not null, _store.Contains(KeyOf(key)));
            Assert.Equal(block is null ? null : (block.Generation, block.Layout), _store.Describe(KeyOf(key)));
        }
    }

    public void Advance(int milliseconds) => _time.Advance(TimeSpan.FromMilliseconds(milliseconds));

    public void SweepBoth()
    {
        _store.Sweep();
        Sweep();
    }

    public void Clear()
    {
        SweepBoth();
        var before = EvictableNow(IsKeptForSure);
        var count = _store.Clear();
        var evicted = Evicted();
        Assert.Equal(evicted.Count, count);
        Assert.All(evicted, block => Assert.Contains(block, before));
        Evict(evicted);
        Assert.Empty(EvictableNow(MayBeKept));
    }

    public void Check()
    {
        foreach (var (lease, block) in _leases)
            Verify(lease, block);
        foreach (var (write, block) in _writes)
            Assert.Equal(-1, Words(write.Bytes).IndexOfAnyExcept(block.Pattern));
        var used = _inMemory.Sum(block => block.Pages);
        var free = Pages - used;
        Assert.Equal(
            new BlockStoreStatistics
            {
                Blocks = _visible.Count,
                BlockBytes = _visible.Values.Sum(block => (long)block.Layout.BlockBytes),
                LeasedBlocks = _inMemory.Count(block => block.Leases > 0),
                PinnedBytes = PinnedBytes,
                CopiedBytes = 0,
                Writing = _writes.Count,
                ArenaBytes = Pages * Arena.PageBytes,
                ArenaCommittedBytes = Pages * Arena.PageBytes,
                ArenaUsedBytes = used * (long)Arena.PageBytes,
                Fragmentation = free == 0 ? 0 : 1 - ((double)LongestRun(_ => false) / free),
                Published = _published,
                Evicted = _evicted,
                EvictedBytes = _evictedBytes,
                Expired = _expired,
                Deleted = _deleted,
                Corrupt = _corrupt,
                Refused = _refused,
                Hints = 0,
            },
            _store.GetStatistics());
        Assert.Equal(_published, _visible.Count + _evicted + _expired + _deleted + _corrupt);
    }

    public void LetGoOfEverything()
    {
        while (_writes.Count > 0)
            Abandon(0);
        while (_leases.Count > 0)
            Release(0);
        for (var key = 0; key < Keys; key++)
            Pin(key, 0);
        Clear();
        Check();
        Assert.Equal(0, _store.Arena.UsedBytes);
        Assert.Equal(0, _store.Arena.Fragmentation);
        Assert.Equal(0, _store.KnownKeys);
    }
}
