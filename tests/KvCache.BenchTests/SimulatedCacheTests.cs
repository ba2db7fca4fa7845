using KvCache.Bench.Simulation;

namespace KvCache.BenchTests;

public sealed class SimulatedCacheTests
{
    [Fact]
    public void Only_a_prefix_is_hit()
    {
        using var cache = new ListCache(10, ListOrder.Used);
        Assert.Equal(0, cache.Serve([1, 2, 3]));
        Assert.Equal(2, cache.Serve([1, 2, 4]));
        // 3 is there, and cannot be reached behind 9.
        Assert.Equal(1, cache.Serve([1, 9, 3]));
    }

    [Fact]
    public void Fifo_forgets_what_came_first_and_lru_what_was_used_first()
    {
        using var fifo = new ListCache(2, ListOrder.Inserted);
        using var lru = new ListCache(2, ListOrder.Used);
        foreach (var cache in new[] { fifo, lru })
        {
            cache.Serve([1]);
            cache.Serve([2]);
            cache.Serve([1]);
            cache.Serve([3]);
        }

        Assert.Equal(0, fifo.Serve([1]));
        Assert.Equal(1, lru.Serve([1]));
    }

    [Fact]
    public void Tail_first_loses_the_end_of_a_chain_before_its_start()
    {
        using var lru = new ListCache(3, ListOrder.Used);
        using var tailFirst = new ListCache(3, ListOrder.TailFirst);
        foreach (var cache in new[] { lru, tailFirst })
        {
            cache.Serve([1, 2, 3]);
            cache.Serve([9]);
        }

        Assert.Equal(0, lru.Serve([1, 2, 3]));
        Assert.Equal(2, tailFirst.Serve([1, 2, 3]));
    }

    [Fact]
    public void The_block_store_is_never_fuller_than_its_capacity_and_evicts_like_tail_first_lru()
    {
        const int capacity = 64;
        using var store = new StoreCache(capacity);
        using var expected = new ListCache(capacity, ListOrder.TailFirst);
        var random = new Random(7);
        for (var request = 0; request < 2000; request++)
        {
            // Chains of a tree: a block's id names its way from the root.
            var chain = new int[random.Next(1, 8)];
            for (var i = 0; i < chain.Length; i++)
                chain[i] = ((i == 0 ? 0 : chain[i - 1]) * 3) + random.Next(1, 4);
            Assert.Equal(expected.Serve(chain), store.Serve(chain));
        }
    }
}
