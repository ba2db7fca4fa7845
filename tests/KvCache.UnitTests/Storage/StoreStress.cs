using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using Xunit;

namespace KvCache.UnitTests.Storage;

/// <summary>
/// One thread's part in a store that several work on at random: it writes bytes that name their generation, and checks what it reads. What
/// must be true at the end is checked by <see cref="CheckAtRest"/>.
/// </summary>
internal sealed class StoreStress(BlockStore store, BlockDirectory directory, ulong[] buried, int seed)
{
    public const int Keys = 48;
    private const int Chain = 6; // keys of one chain

    private static readonly NamespaceId[] Namespaces = [new(TenantId.Of("acme"), 1), new(TenantId.Of("evil"), 1)];
    private readonly Random _random = new(seed);
    private readonly List<BlockLease> _leases = [];

    public static BlockKey Key(int number) =>
        new(Namespaces[number / Chain % Namespaces.Length], StoreFixture.Key(number).Hash);

    public void Run(int rounds)
    {
        for (var round = 0; round < rounds; round++)
            Act(_random.Next(Keys));
        while (_leases.Count > 0)
            ReleaseOne();
    }

    private void Act(int number)
    {
        switch (_random.Next(20))
        {
            case < 6: Write(number); break;
            case < 13: Read(number); break;
            case < 15: Follow(number); break;
            case 15: Delete(number); break;
            case 16: store.Remove(Key(number), RemovalReason.Corrupt); break;
            case 17: store.Pin(Key(number), TimeSpan.FromMilliseconds(_random.Next(3))); break;
            case 18: store.SetTimeToLive(Key(number), TimeSpan.FromMilliseconds(_random.Next(5))); break;
            default: Sweep(); break;
        }
    }

    private void Write(int number)
    {
        var key = Key(number);
        var layout = KvLayout.Opaque([0, 64, (1 + _random.Next(2)) * Arena.PageBytes], 1);
        var parent = number % Chain == 0 ? default : Key(number - 1).Hash;
        var replace = _random.Next(4) == 0;
        store.TryBegin(key, layout, new BlockLineage(parent, number % Chain, 0, 0), replace, out var write);
        if (write is null)
            return;
        using (write)
        {
            Fill(write);
            write.Complete(1);
            if (_random.Next(8) == 0)
                return; // given up
            if (_random.Next(16) == 0)
                store.Revoke(key, write.Generation);
            store.Publish(key, write.Generation, _random.Next(4) == 0 ? TimeSpan.FromMilliseconds(3) : null, replace: replace);
        }
    }

    // A replacing write gets another generation when it is published, so that bytes are named by something of their own.
    private static void Fill(BlockWrite write)
    {
        var name = (uint)write.Entry.Offset ^ (uint)(write.Generation >> 12);
        write.Bytes.Fill((byte)name);
        write.Checksums.Fill((byte)name);
    }

    private void Read(int number)
    {
        var stamp = Volatile.Read(ref buried[number]);
        var lease = _random.Next(3) == 0 ? store.TryHold(Key(number)) : store.TryLease(Key(number));
        if (lease is not null)
        {
            Assert.Equal(Key(number), lease.Key);
            Assert.True(lease.Generation >= stamp, "A block was read behind its deletion.");
            _leases.Add(lease);
            Verify(lease);
        }

        if (_leases.Count > 3 || _random.Next(3) > 0)
            ReleaseOne();
    }

    private void ReleaseOne()
    {
        if (_leases.Count == 0)
            return;
        var lease = _leases[^1];
        _leases.RemoveAt(_leases.Count - 1);
        Verify(lease);
        lease.Dispose();
    }

    private static void Verify(BlockLease lease)
    {
        Assert.Equal(-1, lease.Bytes.IndexOfAnyExcept((byte)lease.Checksums[0]));
        Assert.Equal(lease.Checksums[0], lease.Checksums[^1]);
    }

    private void Follow(int number)
    {
        using var followed = store.Follow(Key(number), TimeSpan.Zero);
        if (followed is null)
            return;
        var layers = followed.WaitFor(1, TimeSpan.Zero);
        if (layers > 0)
            Assert.Equal(-1, followed.Lease.Layers(new LayerRange(0, layers)).IndexOfAnyExcept((byte)followed.Lease.Checksums[0]));
    }

    private void Delete(int number)
    {
        var stamp = store.NewGeneration();
        directory.Bury(Key(number), stamp);
        for (var known = Volatile.Read(ref buried[number]); known < stamp;)
            known = Interlocked.CompareExchange(ref buried[number], stamp, known) is var before && before == known ? stamp : before;
    }

    private void Sweep()
    {
        store.Sweep();
        Assert.InRange(store.Arena.UsedBytes, 0, store.Arena.Capacity);
        if (_random.Next(50) == 0)
            store.Clear();
    }

    /// <summary>Nobody works on the store any more, holds a lease or writes.</summary>
    public static void CheckAtRest(BlockStore store)
    {
        var statistics = store.GetStatistics();
        Assert.Equal((0, 0), (statistics.LeasedBlocks, statistics.Writing));
        Assert.Equal(
            statistics.Published,
            statistics.Blocks + statistics.Evicted + statistics.Expired + statistics.Deleted + statistics.Corrupt);
        Assert.Equal(statistics.ArenaUsedBytes, store.Accounts.All.Sum(account => store.GetStatistics(account).UsedBytes));
        Assert.Equal(statistics.Blocks, store.Accounts.All.Sum(account => store.GetStatistics(account).Blocks));
        for (var number = 0; number < Keys; number++)
            store.Pin(Key(number), TimeSpan.Zero);
        Assert.All(store.Accounts.All, account => Assert.Equal(0, store.GetStatistics(account).LockedBytes));
        Assert.Equal(store.Arena.UsedBytes, store.Accounts.Evictable.Bytes);
        store.Clear();
        Assert.Equal(0, store.GetStatistics().Blocks);
        Assert.Equal(0, store.GetStatistics().PinnedBytes);
        Assert.Equal(0, store.Arena.UsedBytes);
        Assert.Equal(0, store.KnownKeys);
        Assert.All(store.Accounts.All, account => Assert.True(account.TryCharge(account.Limits.Locked), "A charge was not taken back."));
    }
}
