using KvCache.Bench.Simulation;
using KvCache.Benchmarks;
using KvCache.Eviction;

namespace KvCache.BenchTests;

public sealed class SimulatedCacheTests
{
    [Theory]
    [InlineData("lru")]
    [InlineData("lru/t")]
    public void The_block_store_evicts_as_the_policy_says(string policy)
    {
        const int capacity = 64;
        var trace = RandomTrace(2000);
        using var store = new StoreCache(capacity, policy, hints: false);
        var expected = new PolicyReplay(trace, capacity, EvictionPolicies.Create(policy, capacity), hints: false);
        foreach (var request in trace.Requests)
        {
            Assert.Equal(expected.Serve(request), store.Serve(request));
            Assert.InRange(expected.Count, 0, capacity);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    public void No_policy_hits_more_than_the_offline_optimum_and_a_cache_that_holds_all_hits_as_much(int capacity)
    {
        var trace = RandomTrace(1000);
        var optimum = OfflineOptimum.Hits(trace, capacity, default);
        foreach (var name in EvictionPolicies.Names)
        {
            Assert.InRange(Hits(trace, name, capacity), 0, optimum);
            Assert.Equal(OfflineOptimum.Hits(trace, trace.Blocks, default), Hits(trace, name, trace.Blocks));
        }
    }

    [Fact]
    public void The_offline_optimum_keeps_what_comes_back_first()
    {
        // One block fits: 1 is worth keeping over 2 and 3, which never come back, and over 4 until it is used.
        var trace = SimulatedTrace.Of([Request(1), Request(2), Request(1), Request(4), Request(3), Request(4)]);
        Assert.Equal(2, OfflineOptimum.Hits(trace, 1, default));
    }

    private static long Hits(SimulatedTrace trace, string policy, int capacity)
    {
        var replay = new PolicyReplay(trace, capacity, EvictionPolicies.Create(policy, capacity), hints: true);
        return trace.Requests.Sum(request => (long)replay.Serve(request));
    }

    private static TraceRequest Request(params int[] chain) => new(0, chain.Length * TraceRequest.TokensPerBlock, 1, chain);

    // Chains of a tree: a block's id names its way from the root.
    private static SimulatedTrace RandomTrace(int requests)
    {
        var random = new Random(7);
        return SimulatedTrace.Of(Enumerable.Range(0, requests).Select(second =>
        {
            var chain = new int[random.Next(1, 8)];
            for (var i = 0; i < chain.Length; i++)
                chain[i] = ((i == 0 ? 0 : chain[i - 1]) * 3) + random.Next(1, 4);
            return Request(chain) with { Timestamp = second * 1000 };
        }));
    }
}
