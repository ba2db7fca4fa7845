using KvCache.ClusterTests.Infrastructure;
using KvCache.Orleans;
using KvCache.TorchSharp;
using Orleans.Concurrency;

namespace KvCache.ClusterTests;

public sealed class PrefixLifetimeTests(OneSilo silo) : IClassFixture<OneSilo>
{
    [Fact]
    public async Task A_block_lives_as_long_as_its_time_to_live()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small), TimeSpan.FromHours(1));

        silo.Clock.Advance(TimeSpan.FromMinutes(59));
        Assert.NotNull(await prefix.DescribeAsync());
        silo.Clock.Advance(TimeSpan.FromMinutes(1));

        Assert.Null(await prefix.DescribeAsync());
        Assert.True(await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small)));
        Assert.NotNull(await prefix.DescribeAsync());
    }

    [Fact]
    public async Task The_time_to_live_can_be_changed()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small), TimeSpan.FromMinutes(1));

        Assert.True(await prefix.SetTimeToLiveAsync(TimeSpan.FromDays(1)));
        silo.Clock.Advance(TimeSpan.FromHours(23));
        Assert.NotNull(await prefix.DescribeAsync());
        Assert.True(await prefix.SetTimeToLiveAsync(TimeSpan.Zero));

        Assert.Null(await prefix.DescribeAsync());
    }

    [Fact]
    public async Task A_deleted_block_is_gone_and_can_be_stored_again()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small));
        var before = await prefix.DescribeAsync();

        Assert.True(await prefix.DeleteAsync());
        Assert.Null(await prefix.ReadLayersAsync(0, 1));
        Assert.True(await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small)));

        Assert.NotEqual(before!.Generation, (await prefix.DescribeAsync())!.Generation);
    }

    [Fact]
    public async Task A_pinned_block_survives_a_flood_that_evicts_its_neighbours_and_those_can_be_stored_again()
    {
        var pinned = silo.NewPrefix(Blocks.Small);
        var ordinary = silo.NewPrefix(Blocks.Small);
        var bytes = Blocks.Bytes(Blocks.Small);
        await pinned.StoreAsync(Blocks.Small, bytes);
        await ordinary.StoreAsync(Blocks.Small, bytes);
        Assert.True(await pinned.PinAsync(TimeSpan.FromHours(1)));

        await FloodAsync();
        silo.Store.Clear(); // what the policy has kept through it

        Assert.Equal(bytes, await pinned.LoadAsync(Blocks.Small.Layout.AllLayers));
        Assert.Null(await ordinary.DescribeAsync());
        Assert.True(await ordinary.StoreAsync(Blocks.Small, bytes));
        Assert.Equal(bytes, await ordinary.LoadAsync(Blocks.Small.Layout.AllLayers));

        Assert.True(await pinned.PinAsync(TimeSpan.Zero));
        silo.Store.Clear(); // all that can go
        Assert.Null(await pinned.DescribeAsync());
    }

    [Fact]
    public async Task A_block_can_be_pinned_for_all_time()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, Blocks.Bytes(Blocks.Small));

        Assert.True(await prefix.PinAsync(TimeSpan.MaxValue));

        Assert.True(await prefix.PinAsync(TimeSpan.Zero));
    }

    [Fact]
    public async Task A_deactivated_prefix_finds_its_block_again()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var bytes = Blocks.Bytes(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, bytes);
        await prefix.PinAsync(TimeSpan.FromHours(1));

        await silo.DeactivatePrefixesAsync();

        Assert.Equal(bytes, await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
        Assert.Equal(BeginOutcome.AlreadyStored, (await prefix.BeginAsync(Blocks.Intent(Blocks.Small))).Outcome);
        Assert.True(await prefix.DeleteAsync());
    }

    [Fact]
    public async Task A_write_whose_activation_went_is_revoked_and_its_memory_comes_back()
    {
        var used = silo.Store.Arena.UsedBytes;
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Blocks.Intent(Blocks.Small));
        await prefix.WriteAsync(grant.Generation, 0, new Immutable<byte[]>(Blocks.Bytes(Blocks.Small)));

        await silo.DeactivatePrefixesAsync();

        Assert.Equal(used, silo.Store.Arena.UsedBytes);
        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(grant.Generation));
        Assert.Null(await prefix.DescribeAsync());
    }

    private async Task FloodAsync()
    {
        await using var client = silo.Connect();
        var bytes = Blocks.Bytes(Blocks.Large);
        var written = 0L;
        while (written < 2L * OneSilo.ArenaMiB << 20)
        {
            var prefix = KvPrefix.Of(Blocks.Large, Blocks.Tokens(Blocks.Large));
            Assert.Equal(1, (await client.StoreAsync(prefix, 0, [bytes])).Stored);
            written += bytes.Length;
        }
    }
}
