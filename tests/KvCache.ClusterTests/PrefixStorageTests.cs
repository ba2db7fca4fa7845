using KvCache.ClusterTests.Infrastructure;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ClusterTests;

public sealed class PrefixStorageTests(OneSilo silo) : IClassFixture<OneSilo>
{
    [Fact]
    public async Task A_tensor_stored_through_a_grain_comes_back_equal()
    {
        using var stored = Blocks.Tensor(Blocks.Small);
        var tokens = Blocks.Tokens(Blocks.Small);
        var bytes = stored.bytes.ToArray();

        Assert.True(await silo.Grains.GetPrefix(Blocks.Small, tokens).StoreAsync(Blocks.Small, bytes));
        var read = await silo.Grains.GetPrefix(Blocks.Small, tokens).LoadAsync(Blocks.Small.Layout.AllLayers);

        Assert.NotNull(read);
        using var loaded = torch.empty(stored.shape);
        read.CopyTo(loaded.bytes);
        Assert.True(stored.eq(loaded).all().ToBoolean());
    }

    [Fact]
    public async Task Any_run_of_layers_is_its_part_of_the_tensor()
    {
        var layout = Blocks.Small.Layout;
        var prefix = silo.NewPrefix(Blocks.Small);
        var bytes = Blocks.Bytes(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, bytes);

        for (var first = 0; first < layout.Layers; first++)
        {
            for (var count = 1; count <= layout.Layers - first; count++)
            {
                var range = new LayerRange(first, count);
                Assert.Equal(bytes.AsSpan(layout.LayerOffset(first), layout.RangeBytes(range)).ToArray(), await prefix.LoadAsync(range));
            }
        }
    }

    [Fact]
    public async Task Layers_that_are_too_large_for_a_call_come_as_addresses_where_they_can_be_fetched()
    {
        var tokens = Blocks.Tokens(Blocks.Large);
        var prefix = silo.Grains.GetPrefix(Blocks.Large, tokens);
        var bytes = Blocks.Bytes(Blocks.Large);
        Assert.True(await prefix.StoreAsync(Blocks.Large, bytes));

        var ticket = await prefix.ReadLayersAsync(2, 3);

        Assert.NotNull(ticket);
        Assert.Null(ticket.Inline);
        Assert.Equal(silo.Endpoints, ticket.Endpoints);
        Assert.Null(await prefix.LoadAsync(new LayerRange(2, 3)));
        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(ticket.Endpoints[0])!, "default", "");
        var layers = new LayerRange(2, 3);
        var memory = new byte[Blocks.Large.Layout.RangeBytes(layers)];
        var delivered = 0;
        var hashes = KvPrefix.Of(Blocks.Large, tokens).Chain.Hashes.ToArray();
        Assert.Equal(MissReason.None, connection.Get(Blocks.Large, hashes, layers, [memory], 0, localOnly: true, ref delivered));
        Assert.Equal(bytes.AsSpan(Blocks.Large.Layout.LayerOffset(2), memory.Length).ToArray(), memory);
    }

    [Fact]
    public async Task A_block_stored_over_the_data_plane_is_read_through_its_grain()
    {
        var prefix = KvPrefix.Of(Blocks.Small, Blocks.Tokens(Blocks.Small));
        var bytes = Blocks.Bytes(Blocks.Small);
        await using var client = silo.Connect();

        Assert.Equal(1, (await client.StoreAsync(prefix, 0, [bytes])).Stored);

        var grain = silo.Grains.GetPrefix(new BlockKey(Blocks.Small.Id, prefix.Chain.Hashes[0]));
        Assert.Equal(bytes, await grain.LoadAsync(Blocks.Small.Layout.AllLayers));
        Assert.Equal(bytes.Length, (await grain.DescribeAsync())?.Bytes);
    }

    [Fact]
    public async Task What_was_never_stored_is_null()
    {
        var prefix = silo.NewPrefix(Blocks.Small);

        Assert.Null(await prefix.DescribeAsync());
        Assert.Null(await prefix.ReadLayersAsync(0, 1));
        Assert.False(await prefix.PinAsync(TimeSpan.FromSeconds(1)));
        Assert.False(await prefix.SetTimeToLiveAsync(TimeSpan.FromSeconds(1)));
        Assert.False(await prefix.DeleteAsync());
    }

    [Fact]
    public async Task A_block_that_is_damaged_in_memory_is_a_miss_and_can_be_stored_again()
    {
        var tokens = Blocks.Tokens(Blocks.Small);
        var prefix = silo.Grains.GetPrefix(Blocks.Small, tokens);
        var bytes = Blocks.Bytes(Blocks.Small);
        await prefix.StoreAsync(Blocks.Small, bytes);
        var corrupt = silo.Store.GetStatistics().Corrupt;

        FlipByte(new BlockKey(Blocks.Small.Id, KvPrefix.Of(Blocks.Small, tokens).Chain.Hashes[0]));

        Assert.Null(await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
        Assert.Equal(corrupt + 1, silo.Store.GetStatistics().Corrupt);
        Assert.True(await prefix.StoreAsync(Blocks.Small, bytes));
        Assert.Equal(bytes, await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
    }

    private unsafe void FlipByte(BlockKey key)
    {
        using var lease = silo.Store.TryLease(key)!;
        fixed (byte* bytes = lease.Bytes)
            bytes[lease.Bytes.Length / 2] ^= 1;
    }
}
