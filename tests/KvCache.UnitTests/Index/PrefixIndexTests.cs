using System.Runtime.CompilerServices;
using CsCheck;
using KvCache.Engine.Index;
using KvCache.Testing;
using KvCache.UnitTests.Index;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PrefixIndexTests
{
    // Spread keys, and keys that fight for the same slots at the end of a table, so that probes and moves wrap around.
    private static readonly BlockKey[] Pool = [.. Enumerable.Range(0, 64).Select(Keys.Key), .. Keys.Colliding(64)];

    private static readonly int[] Holders = [0, 1, 62, PrefixIndex.RedisHolder];

    [Fact]
    public void It_answers_like_a_dictionary() =>
        Gen.Select(Gen.Int[0, 99], Gen.Int[0, Pool.Length - 1], Gen.Int[0, Holders.Length - 1]).Array[0, 400].Sample(steps =>
        {
            var index = new PrefixIndex();
            var model = new Dictionary<BlockKey, ulong>();
            foreach (var (choice, k, h) in steps)
                Step(index, model, choice, k, Holders[h]);
            AssertSame(index, model);
        }, iter: Depth.Of(500));

    [Fact]
    public void A_full_index_refuses_new_blocks_of_others_and_counts_them()
    {
        var index = new PrefixIndex(new PrefixIndexOptions { MaxEntries = 2 });
        Assert.True(index.Add(Keys.Key(0), 1));
        Assert.True(index.Add(Keys.Key(1), 1));
        Assert.False(index.Add(Keys.Key(2), 1));
        Assert.True(index.Add(Keys.Key(1), 5));
        Assert.Equal((2, 1L, 2), (index.Count, index.Refused, index.CountOf(1)));

        Assert.True(index.Remove(Keys.Key(0), 1));
        Assert.True(index.Add(Keys.Key(2), 1));
        Assert.Equal(0UL, index.HoldersOf(Keys.Key(0)));
    }

    [Fact]
    public void What_this_silo_has_is_always_known_whatever_others_have()
    {
        var index = new PrefixIndex(new PrefixIndexOptions { MaxEntries = 50, MaxRedisEntries = 200 });
        for (var i = 0; i < 4000; i++)
        {
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder);
            index.Add(Keys.Key(10_000 + i), 1 + (i % 62));
        }

        for (var i = 0; i < 100; i++)
            Assert.True(index.Add(Keys.Key(20_000 + i), BlockDirectory.Self));
        Assert.Equal(100, index.Match(Keys.Namespace, Keys.Hashes(20_000, 100), new ulong[100]));
        Assert.Equal((100, 50), (index.CountOf(EntryKind.Own), index.CountOf(EntryKind.Silos)));
        Assert.InRange(index.CountOf(EntryKind.Redis), 100, 256); // each of 256 shards forgets its own
        Assert.Equal((3950L, 4000L - index.CountOf(EntryKind.Redis)), (index.Refused, index.Forgotten));
    }

    [Fact]
    public void A_block_that_leaves_memory_is_still_known_to_be_in_Redis()
    {
        var index = new PrefixIndex(new PrefixIndexOptions { MaxRedisEntries = 10 }, shards: 1);
        for (var i = 0; i < 30; i++)
        {
            index.Add(Keys.Key(i), BlockDirectory.Self);
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder);
        }

        for (var i = 0; i < 30; i++)
            index.Remove(Keys.Key(i), BlockDirectory.Self);
        Assert.Equal(30, index.CountOf(EntryKind.Redis)); // they were there
        for (var i = 30; i < 60; i++)
        {
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder);
            Assert.NotEqual(0UL, index.HoldersOf(Keys.Key(i))); // the newest never goes
        }

        Assert.Equal(10, index.CountOf(EntryKind.Redis));
    }

    [Theory]
    [InlineData(PrefixIndex.RedisHolder, 1)]
    [InlineData(PrefixIndex.RedisHolder, 256)]
    [InlineData(7, 1)]
    [InlineData(7, 256)]
    public void A_tenant_that_fills_the_index_takes_no_other_one_its_part(int holder, int shards)
    {
        const ulong Acme = 1, Evil = 2, Foreign = 1000; // whoever can write to Redis can name any tenant
        var index = new PrefixIndex(
            new PrefixIndexOptions { MaxEntries = 1000, MaxRedisEntries = 1000, PartOf = tenant => tenant.Value <= Evil ? 0.5 : 0 },
            shards);
        for (var i = 0; i < 400; i++)
            Assert.True(index.Add(Keys.Of(Acme, i), holder));
        for (var i = 0; i < 5_000; i++)
        {
            index.Add(Keys.Of(Evil, i), holder);
            index.Add(Keys.Of(Foreign + (ulong)i, i), holder);
        }

        Assert.Equal(400, Found(Acme, 400));
        Assert.InRange(index.Count, 900, 1256);

        // What was lent comes back.
        for (var i = 400; i < 500; i++)
            Assert.True(index.Add(Keys.Of(Acme, i), holder));
        Assert.Equal(500, Found(Acme, 500));
        Assert.InRange(index.Count, 900, 1256);

        int Found(ulong tenant, int count) => Enumerable.Range(0, count).Count(i => index.HoldersOf(Keys.Of(tenant, i)) != 0);
    }

    [Fact]
    public void A_part_of_the_index_that_is_not_used_is_lent()
    {
        var index = new PrefixIndex(new PrefixIndexOptions { MaxEntries = 1000, MaxRedisEntries = 1000, PartOf = _ => 0.1 });
        for (var i = 0; i < 900; i++)
        {
            Assert.True(index.Add(Keys.Of(1, i), PrefixIndex.RedisHolder));
            Assert.True(index.Add(Keys.Of(1, 10_000 + i), 3));
        }

        Assert.Equal((1800, 0L, 0L), (index.Count, index.Refused, index.Forgotten));
    }

    [Fact]
    public void What_Redis_was_not_seen_to_have_lately_is_forgotten_first()
    {
        var index = new PrefixIndex(new PrefixIndexOptions { MaxRedisEntries = 20 }, shards: 1);
        for (var i = 0; i < 20; i++)
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder);
        index.BeginReplace(PrefixIndex.RedisHolder);
        for (var i = 10; i < 20; i++)
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder); // the scan has found these again
        for (var i = 20; i < 25; i++)
            index.Add(Keys.Key(i), PrefixIndex.RedisHolder);
        Assert.All(Enumerable.Range(10, 15), i => Assert.NotEqual(0UL, index.HoldersOf(Keys.Key(i))));
        Assert.Equal(5, index.EndReplace(PrefixIndex.RedisHolder)); // and the scan takes the rest
        Assert.Equal(15, index.Count);
    }

    [Fact]
    public void A_match_ends_at_the_first_block_that_nobody_holds()
    {
        var index = new PrefixIndex();
        var hashes = Keys.Hashes(0, 100);
        for (var i = 0; i < 100; i++)
        {
            if (i != 70)
                index.Add(Keys.Key(i), i % 63);
        }

        var holders = new ulong[100];
        Assert.Equal(70, index.Match(Keys.Namespace, hashes, holders));
        Assert.All(Enumerable.Range(0, 70), i => Assert.Equal(1UL << (i % 63), holders[i]));
        Assert.Equal(29, index.Match(Keys.Namespace, hashes.AsSpan(71), holders));
        Assert.Equal(0, index.Match(new NamespaceId(new TenantId(1), 2), hashes, holders));
        Assert.Equal(0, index.Match(Keys.Namespace, [], []));
        Assert.Throws<ArgumentException>(() => index.Match(Keys.Namespace, hashes, new ulong[99]));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(64)]
    public void A_holder_out_of_range_is_refused(int holder)
    {
        var index = new PrefixIndex();
        Assert.Throws<ArgumentOutOfRangeException>(() => index.Add(Keys.Key(0), holder));
        Assert.Throws<ArgumentOutOfRangeException>(() => index.Remove(Keys.Key(0), holder));
        Assert.Throws<ArgumentOutOfRangeException>(() => index.RemoveHolder(holder));
        Assert.Throws<ArgumentOutOfRangeException>(() => index.CountOf(holder));
    }

    [Fact]
    public void Tables_shrink_when_a_holder_goes()
    {
        var index = new PrefixIndex();
        for (var i = 0; i < 100_000; i++)
            index.Add(Keys.Key(i), i % 100 == 0 ? 1 : 0);
        var full = index.MemoryBytes;
        Assert.Equal(99_000, index.RemoveHolder(0));
        Assert.InRange(index.MemoryBytes, 0, full / 8);
        Assert.Equal((1000, 1000), (index.Count, index.CountOf(1)));
        Assert.All(Enumerable.Range(0, 1000), i => Assert.Equal(2UL, index.HoldersOf(Keys.Key(i * 100))));
    }

    [Fact]
    public void Keys_that_stay_are_read_once_while_others_come_and_go()
    {
        var index = new PrefixIndex();
        for (var i = 0; i < 20_000; i++)
            index.Add(Keys.Key(i), i % 2);
        var read = new List<BlockKey>();
        var cursor = 0;
        for (var round = 0; index.ReadKeys(1, ref cursor, read); round++)
        {
            // Removing moves entries, adding makes tables grow.
            for (var i = 0; i < 200; i++)
            {
                index.Add(Keys.Key(20_000 + (round * 200) + i), 0);
                index.Remove(Keys.Key(((round * 200) + i) * 2), 0);
            }
        }

        Assert.Equal(10_000, read.Count);
        Assert.Equal(Enumerable.Range(0, 10_000).Select(i => Keys.Key((i * 2) + 1)).ToHashSet(), [.. read]);
    }

    [Fact]
    public async Task The_batch_interface_completes_at_once()
    {
        var replica = new PrefixIndex();
        IPrefixIndex index = replica;
        var applied = index.ApplyAsync(4, new IndexDelta[]
        {
            new(IndexOperation.Added, Keys.Key(0), 1),
            new(IndexOperation.Persisted, Keys.Key(0), 1),
            new(IndexOperation.Added, Keys.Key(1), 1),
            new(IndexOperation.Persisted, Keys.Key(2), 1),
            new(IndexOperation.Unpersisted, Keys.Key(2), 1),
            new(IndexOperation.Deleted, Keys.Key(0), 2),
            new(IndexOperation.Removed, Keys.Key(3), 1),
        }, TestContext.Current.CancellationToken);
        Assert.True(applied.IsCompletedSuccessfully);
        await applied;

        var holders = new ulong[3];
        var match = index.MatchAsync(Keys.Namespace, Keys.Hashes(0, 3), holders, TestContext.Current.CancellationToken);
        Assert.True(match.IsCompletedSuccessfully);
        Assert.Equal(2, await match);
        Assert.Equal([(1UL << 4) | (1UL << PrefixIndex.RedisHolder), 1UL << 4, 0UL], holders);
    }

    [Fact]
    public void An_entry_is_one_cache_line()
    {
        Assert.Equal(64, Unsafe.SizeOf<IndexEntry>());
        var table = new IndexTable(100);
        unsafe
        {
            Assert.Equal(0, (nint)Unsafe.AsPointer(ref table[0]) % 64);
        }
    }

    private static void Step(PrefixIndex index, Dictionary<BlockKey, ulong> model, int choice, int k, int holder)
    {
        var (key, bit) = (Pool[k], 1UL << holder);
        var mask = model.GetValueOrDefault(key);
        switch (choice)
        {
            case < 55:
                Assert.Equal((mask & bit) == 0, index.Add(key, holder));
                model[key] = mask | bit;
                break;
            case < 90:
                Assert.Equal((mask & bit) != 0, index.Remove(key, holder));
                Clear(model, key, bit);
                break;
            case < 93:
                Assert.Equal(model.Values.Count(m => (m & bit) != 0), index.RemoveHolder(holder));
                foreach (var other in model.Keys)
                    Clear(model, other, bit);
                break;
            case < 96:
                BlockKey[] copy = [.. Pool.Where((_, i) => (i * (k + 1) % 7) < 3)];
                Assert.Equal(model.Count(e => (e.Value & bit) != 0 && !copy.Contains(e.Key)), index.Replace(holder, copy));
                foreach (var other in model.Keys)
                    Clear(model, other, bit);
                foreach (var copied in copy)
                    model[copied] = model.GetValueOrDefault(copied) | bit;
                break;
            default:
                Assert.Equal(mask, index.HoldersOf(key));
                break;
        }
    }

    private static void Clear(Dictionary<BlockKey, ulong> model, BlockKey key, ulong bit)
    {
        if (!model.TryGetValue(key, out var mask))
            return;
        if ((mask & ~bit) == 0)
            model.Remove(key);
        else
            model[key] = mask & ~bit;
    }

    private static void AssertSame(PrefixIndex index, Dictionary<BlockKey, ulong> model)
    {
        Assert.Equal(model.Count, index.Count);
        foreach (var key in Pool)
            Assert.Equal(model.GetValueOrDefault(key), index.HoldersOf(key));
        foreach (var holder in Holders)
        {
            var read = new List<BlockKey>();
            for (var cursor = 0; index.ReadKeys(holder, ref cursor, read);)
            {
            }

            Assert.Equal(model.Where(e => (e.Value & (1UL << holder)) != 0).Select(e => e.Key).ToHashSet(), [.. read]);
            Assert.Equal(read.Count, index.CountOf(holder));
        }
    }
}
