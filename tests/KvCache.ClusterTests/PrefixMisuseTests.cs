using KvCache.ClusterTests.Infrastructure;
using KvCache.Orleans;
using KvCache.TorchSharp;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Concurrency;

namespace KvCache.ClusterTests;

public sealed class PrefixMisuseTests(OneSilo silo) : IClassFixture<OneSilo>
{
    [Theory]
    [InlineData("hello")]
    [InlineData("00000000000000000000000000000000/0000")]
    [InlineData("0000000000000000000000000000000z/0000000000000000000000000000000000000000000000000000000000000000")]
    public async Task A_key_that_is_no_block_key_is_told_so(string key)
    {
        var inside = silo.Services.GetRequiredService<IGrainFactory>().GetGrain<IPrefixGrain>(key);
        var error = await Assert.ThrowsAnyAsync<Exception>(async () => await inside.DescribeAsync());
        var refusal = await Assert.ThrowsAsync<UnauthorizedAccessException>(
            async () => await silo.Grains.GetGrain<IPrefixGrain>(key).DescribeAsync());

        Assert.Contains($"'{key}' is refused: it is no prefix of the tenant", refusal.Message, StringComparison.Ordinal);
        Assert.Contains($"'{key}' is not the key of a prefix grain; 32 hexadecimal digits", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_piece_that_is_too_large_for_a_call_is_refused_with_the_limit()
    {
        var prefix = silo.NewPrefix(Blocks.Large);
        var grant = await prefix.BeginAsync(Blocks.Intent(Blocks.Large));

        var error = await Assert.ThrowsAsync<ArgumentException>(
            async () => await prefix.WriteAsync(grant.Generation, 0, new Immutable<byte[]>(new byte[(64 << 10) + 1])));

        Assert.Contains("has 65537 bytes; at most 65536 travel in a call", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(1)]
    [InlineData(int.MaxValue)]
    public async Task A_piece_outside_of_the_block_is_refused(int offset)
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Blocks.Intent(Blocks.Small));

        var error = await Assert.ThrowsAsync<ArgumentException>(
            async () => await prefix.WriteAsync(grant.Generation, offset, new Immutable<byte[]>(new byte[Blocks.Small.Layout.BlockBytes])));

        Assert.Contains("does not lie in the block of 32768 bytes", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, 5)]
    [InlineData(4, 1)]
    [InlineData(0, 0)]
    [InlineData(1, int.MaxValue)]
    public async Task Layers_outside_of_the_block_are_refused(int first, int count)
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small));

        var error = await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await prefix.ReadLayersAsync(first, count));

        Assert.Contains("do not lie in the block of 4 layers", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_write_needs_the_namespace_of_its_grain()
    {
        var prefix = silo.NewPrefix(Blocks.Small);

        var foreign = await Assert.ThrowsAsync<ArgumentException>(async () => await prefix.BeginAsync(Blocks.Intent(Blocks.Large)));
        var missing = await Assert.ThrowsAsync<ArgumentException>(async () => await prefix.BeginAsync(new WriteIntent()));

        Assert.Contains($"this grain belongs to {Blocks.Small.Id}", foreign.Message, StringComparison.Ordinal);
        Assert.Contains("both are missing", missing.Message, StringComparison.Ordinal);
        Assert.Equal(BeginOutcome.Accepted, (await prefix.BeginAsync(Blocks.Intent(Blocks.Small))).Outcome);
    }

    [Fact]
    public async Task A_block_larger_than_the_arena_is_refused_and_evicts_nothing()
    {
        var kept = silo.NewPrefix(Blocks.Small);
        await kept.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small));
        var huge = Blocks.Namespace("huge", KvLayout.Opaque((OneSilo.ArenaMiB << 20) + 1, tokensPerBlock: 1));

        Assert.Equal(new WriteGrant(BeginOutcome.NoMemory, 0), await silo.NewPrefix(huge).BeginAsync(Blocks.Intent(huge)));

        Assert.NotNull(await kept.DescribeAsync());
    }
}
