using KvCache.Benchmarks;
using KvCache.Benchmarks.Strategies;
using KvCache.Client;

namespace KvCache.BenchTests;

public sealed class StrategyTests
{
    private static readonly PriceModel Prices = new(TokensPerSecond: 1000, PerHour: 3.6);

    [Fact]
    public void A_prompt_costs_the_time_of_its_tokens()
    {
        Assert.Equal(512, Prices.PrefillMilliseconds(512));
        // A million tokens take 1000 s, and a second costs a tenth of a cent.
        Assert.Equal(1, Prices.PerMillionTokens(1_000_000, 1_000_000), 9);
    }

    [Fact]
    public void Equal_ids_are_equal_blocks_and_a_partial_last_block_is_none()
    {
        var first = new TraceRequest(0, 1100, 1, [0, 1, 2]).Chain();
        var second = new TraceRequest(0, 1024, 1, [0, 3]).Chain();
        Assert.Equal(2, first.BlockCount);
        Assert.Equal(first.Hashes[0], second.Hashes[0]);
        Assert.NotEqual(first.Hashes[1], second.Hashes[1]);
    }

    [Fact]
    public void Without_a_cache_everything_is_computed()
    {
        var run = new StrategyRun(new NoCache(), Prices, 4096);
        var request = new TraceRequest(0, 1024, 1, [0, 1]);
        run.Serve(0, request, request.Chain(), [], []);
        Assert.Equal(0, run.HitRate);
        Assert.InRange(run.FirstTokens.Single(), 1024, double.MaxValue);
        Assert.Equal(0, run.StoredMib);
    }

    [Fact]
    public void What_one_node_stored_another_one_does_not_have_in_its_process()
    {
        using var local = new CacheStrategy(
            "local",
            new CacheNamespace { Tenant = "default", Model = "m", Layout = KvLayout.Opaque([0, 4096], TraceRequest.TokensPerBlock) },
            [new LocalKvCache(new ByteSize(1 << 19)), new LocalKvCache(new ByteSize(1 << 19))]);
        var prompt = new TraceRequest(0, 1024, 1, [0, 1]).Chain();
        ReadOnlyMemory<byte>[] sources = [new byte[4096], new byte[4096]];
        Memory<byte>[] targets = [new byte[4096], new byte[4096]];
        local.Store(0, prompt, 0, sources);
        Assert.Equal(2, local.Load(0, prompt, targets));
        Assert.Equal(0, local.Load(1, prompt, targets));
    }
}
