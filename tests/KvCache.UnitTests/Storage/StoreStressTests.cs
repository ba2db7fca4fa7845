using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Testing;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Several threads at a time. A break of what readers and the holder of the store's lock have agreed on shows here.</summary>
public sealed class StoreStressTests
{
    private const int Threads = 4;

    [Theory]
    [InlineData("default", 24)]
    [InlineData("default", 400)]
    [InlineData("lru/t", 24)]
    [InlineData("arc/t", 24)]
    [InlineData("s3fifo/t", 24)]
    public void What_is_read_under_a_lease_is_what_was_written_and_at_the_end_nothing_is_left(string policy, int pages)
    {
        var accounts = new TenantAccounts();
        accounts.Set("acme", TenantLimits.None with { Share = pages / 2 * Arena.PageBytes });
        accounts.Set("evil", new TenantLimits { Share = 0, Locked = pages / 3 * Arena.PageBytes, Cap = pages / 2 * Arena.PageBytes });
        var directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones());
        using var store = new BlockStore(
            Memory.Arena(pages), new BlockStoreOptions { Eviction = policy }, observer: directory, accounts: accounts);
        directory.Attach(store);
        var buried = new ulong[StoreStress.Keys];
        Together(thread => new StoreStress(store, directory, buried, seed: thread).Run(Depth.Of(8_000)));
        Assert.True(store.GetStatistics().Published > 1000);
        StoreStress.CheckAtRest(store);
    }

    [Fact]
    public void A_block_that_is_replaced_is_never_absent()
    {
        using var fixture = new StoreFixture(pages: 8);
        var key = StoreFixture.Key(0);
        Assert.True(fixture.Put(0));
        var replaced = 0;
        Together(thread =>
        {
            while (Volatile.Read(ref replaced) < Depth.Of(10_000))
            {
                if (thread == 0)
                {
                    using var write = fixture.Store.TryReserve(key, StoreFixture.Layout(1), default)!;
                    write.Bytes.Fill((byte)replaced);
                    Assert.Equal(PublishOutcome.Published, fixture.Store.Publish(key, write.Generation, replace: true));
                    Volatile.Write(ref replaced, replaced + 1);
                    continue;
                }

                Assert.True(fixture.Store.Contains(key));
                using var lease = fixture.Store.TryLease(key);
                Assert.NotNull(lease);
                Assert.Equal(-1, lease.Bytes.IndexOfAnyExcept(lease.Bytes[0]));
            }
        });
    }

    [Fact]
    public void A_block_that_was_leased_a_moment_ago_is_not_evicted()
    {
        const int Pages = 4;
        using var fixture = new StoreFixture(Pages);
        var newest = 0;
        var seen = new int[Threads];
        Together(thread =>
        {
            for (var number = 0; Volatile.Read(ref newest) < Depth.Of(40_000); number++)
            {
                if (thread == 0)
                {
                    if (fixture.Put(number)) // it takes the place of the oldest one
                        Volatile.Write(ref newest, number);
                    continue;
                }

                using var lease = fixture.Store.TryHold(StoreFixture.Key(Volatile.Read(ref newest) - Pages + 1));
                if (lease is null)
                    continue;
                seen[thread]++;
                var first = lease.Bytes[0];
                Thread.SpinWait(number % 64);
                Assert.Equal(-1, lease.Bytes.IndexOfAnyExcept(first));
            }
        });
        Assert.True(seen.Sum() > 0);
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
        fixture.Store.Clear();
        Assert.Equal(0, fixture.Store.Arena.UsedBytes);
    }

    [Fact]
    public void Leases_of_a_tenant_never_keep_more_than_it_may_lock()
    {
        const int Blocks = 64, Most = 5;
        var accounts = new TenantAccounts();
        accounts.Set("evil", new TenantLimits { Locked = Most * Arena.PageBytes });
        using var store = new BlockStore(Memory.Arena(Blocks), accounts: accounts);
        var keys = Enumerable.Range(0, Blocks)
            .Select(number => new BlockKey(new NamespaceId(TenantId.Of("evil"), 1), StoreFixture.Key(number).Hash)).ToArray();
        foreach (var key in keys)
        {
            using var write = store.TryReserve(key, StoreFixture.Layout(1), default)!;
            store.Publish(key, write.Generation);
        }

        var held = 0;
        var most = new int[Threads];
        Together(thread =>
        {
            // Each leases blocks of its own, so that every lease locks another one.
            var leases = new Queue<BlockLease>();
            for (var round = 0; round < 20_000; round++)
            {
                if (store.TryLease(keys[(round % (Blocks / Threads) * Threads) + thread]) is { } lease)
                {
                    most[thread] = Math.Max(most[thread], Interlocked.Increment(ref held));
                    leases.Enqueue(lease);
                }

                Release(round % 4);
            }

            Release(0);

            void Release(int kept)
            {
                while (leases.Count > kept)
                {
                    Interlocked.Decrement(ref held);
                    leases.Dequeue().Dispose();
                }
            }
        });
        Assert.InRange(most.Max(), 2, Most);
        Assert.Equal(0, store.GetStatistics(accounts.Of("evil")).LockedBytes);
        Assert.Equal(0, store.GetStatistics().LeasedBlocks);
    }

    [Fact]
    public void Memory_is_freed_once_by_who_closes_a_block_or_by_its_last_reader()
    {
        for (var round = 0; round < Depth.Of(1500); round++)
        {
            var word = new LeaseWord();
            int frees = 0, closed = 0;
            using var gate = new Barrier(Threads);
            Together(thread =>
            {
                gate.SignalAndWait();
                for (var i = 0; i < 20; i++)
                {
                    if (thread == 0)
                    {
                        _ = word.Tell();
                        if (i == 10 && (round % 2 == 0 ? !word.Close().Leased : word.TryClose()))
                            Interlocked.Increment(ref frees);
                        if (i == 10 && round % 2 == 0)
                            Volatile.Write(ref closed, 1);
                    }
                    else
                    {
                        var wasClosed = Volatile.Read(ref closed) == 1;
                        if (!word.TryTake())
                            return;
                        Assert.False(wasClosed);
                        Assert.Equal(0, frees);
                        if (word.Release() == LeaseEnd.LastOfClosed)
                            Interlocked.Increment(ref frees);
                    }
                }
            });
            if (word.TryTake())
                Assert.Equal(0, frees); // somebody read it when it was to be evicted
            else
                Assert.Equal(1, frees);
        }
    }

    [Fact]
    public void A_reader_finds_every_key_that_is_there_while_others_come_and_go()
    {
        const int Lasting = 2000, Passing = 60_000;
        var table = new NodeTable();
        var accounts = new TenantAccounts();
        BlockNode[] nodes = [.. Enumerable.Range(0, Lasting + Passing).Select(number => new BlockNode(Key(number), accounts.Others))];
        foreach (var node in nodes[..Lasting])
            table.Add(node);
        var done = 0;
        Together(thread =>
        {
            if (thread == 0)
            {
                foreach (var node in nodes[Lasting..])
                    table.Add(node);
                foreach (var node in nodes[Lasting..])
                    table.Remove(node);
                Volatile.Write(ref done, 1);
                return;
            }

            for (var number = thread; Volatile.Read(ref done) == 0; number = (number + 1) % Lasting)
            {
                Assert.Same(nodes[number], table.Find(Key(number)));
                Assert.Null(table.Find(Key(-1 - number)));
            }
        });
        Assert.Equal(Lasting, table.Count);
        Assert.All(nodes[Lasting..], node => Assert.Null(table.Find(node.Key)));

        static BlockKey Key(int number) => new(new NamespaceId(new TenantId(1), 2), new BlockHash(HashOf(number)));

        static byte[] HashOf(int number) => System.Security.Cryptography.SHA256.HashData(BitConverter.GetBytes(number));
    }

    [Fact]
    public void Every_use_is_told_once_whoever_tells_it()
    {
        const int Uses = 100_000;
        var log = new UseLog();
        var told = new int[Threads * Uses];
        var gate = new Lock();
        Together(thread =>
        {
            for (var i = 0; i < Uses; i++)
            {
                var use = new BlockUse(null!, (thread * Uses) + i, 0, 0);
                bool due;
                while (!log.TryAdd(use, out due))
                    Tell();
                if (due)
                    Tell();
            }
        });
        Tell();
        Assert.False(log.HasNews);
        Assert.All(told, times => Assert.Equal(1, times));

        void Tell()
        {
            lock (gate)
            {
                var uses = new BlockUse[UseLog.Capacity];
                log.BeginToTell();
                for (var stripe = 0; stripe < log.Stripes; stripe++)
                {
                    foreach (var use in uses.AsSpan(0, log.Take(stripe, uses)))
                        told[use.Request]++;
                }
            }
        }
    }

    // Threads of their own: on a busy machine a pool might run one after the other.
    private static void Together(Action<int> work)
    {
        Exception? failure = null;
        var threads = Enumerable.Range(0, Threads).Select(number => new Thread(() =>
        {
            try
            {
                work(number);
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref failure, e, null);
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        if (failure is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }
}
