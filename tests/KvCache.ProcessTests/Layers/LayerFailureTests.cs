using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>What a load by layers does when silos, memory or connections fail.</summary>
[Trait("run", "kills")]
public sealed class LayerFailureTests
{
    // layers of 1 MiB
    private static readonly CacheNamespace Ns = Prefixes.Namespace("layers", KvLayout.Create(8, 8, 128, KvDataType.Float16, 256));

    [Fact]
    public async Task A_silo_that_is_killed_in_the_middle_ends_the_load_and_nothing_is_written_behind_it()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "320MiB", UseUnix: false));
        using var relay = new Relay(silo.Tcp);
        await using var direct = silo.Connect();
        await using var client = silo.Connect(relay.Endpoint);
        var prefix = Prefixes.New(Ns, 8); // 64 MiB: more than the buffers on the way take
        await direct.MustStoreAsync(prefix);
        relay.Limit(fromSilo: 18 << 20); // two layers
        var memory = prefix.Memory(8);
        var layers = new List<LoadedLayer>();
        await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory))
        {
            layers.Add(loaded);
            if (loaded.Layer != 1)
                continue;
            await silo.KillAsync();
            relay.Open();
        }

        foreach (var block in memory)
            block.Span.Fill(0xA5);
        Assert.Equal((0, MissReason.Unavailable), (layers[^1].Blocks, layers[^1].Reason));
        Assert.InRange(layers.Count, 3, 8);
        Assert.Equal(Enumerable.Range(0, layers.Count - 1).Select(layer => new LoadedLayer(layer, 8, MissReason.None)), layers.SkipLast(1));
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Unavailable)],
            await client.LoadLayersAsync(prefix, 0, memory).ToArrayAsync(TestContext.Current.CancellationToken));
        Assert.All(memory, block => Assert.True(block.Span.IndexOfAnyExcept((byte)0xA5) < 0, "The load wrote after its end."));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_damaged_layer_takes_its_block_and_those_behind_out_of_the_load(bool sharedMemory)
    {
        await using var silo =
            await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true, Arguments: ["--shared-memory"], Arena: "128MiB"));
        await using var client =
            silo.Connect(silo.Unix, options => (options.SharedMemory, options.LeaseLife) = (sharedMemory, TimeSpan.Zero));
        var prefix = Prefixes.New(Ns, 4);
        await client.MustStoreAsync(prefix);
        DamagedMemoryTests.FlipByte(silo.ArenaPath, prefix, block: 2, offset: Ns.Layout.LayerOffset(3) + 77);

        var memory = prefix.Memory(4);
        var layers = await client.LoadLayersAsync(prefix, 0, memory).ToArrayAsync(TestContext.Current.CancellationToken);

        // How many layers were announced before the damage was met is a matter of time; when none was, the load ends with what is whole.
        Assert.Equal(8, layers.Length);
        Assert.All(layers,
            loaded => Assert.True(
            loaded == new LoadedLayer(loaded.Layer, 4, MissReason.None)
            ? loaded.Layer < 3
            : loaded is { Blocks: 2, Reason: MissReason.Corrupt or MissReason.Absent }));
        Assert.Equal(2, layers[^1].Blocks);
        for (var block = 0; block < 2; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
        await Eventually.TrueAsync("the silo has dropped the damaged block", async () => await client.StoreCounterAsync("corrupt") == 1);
        Assert.Equal(2, (await client.MatchAsync(prefix)).Blocks);
    }

    [Fact]
    public async Task Blocks_on_several_silos_are_loaded_from_all_of_them_and_from_another_holder_when_one_is_gone()
    {
        var ns = Prefixes.Namespace("layers", KvLayout.Create(4, 2, 64, KvDataType.Float16, 64));
        await using var silos = await SiloCluster.StartAsync(3);
        var prefix = Prefixes.New(ns, 9);
        for (var silo = 0; silo < 3; silo++)
        {
            await using var writer = silos.Connect(silo);
            Assert.Equal(3, (await writer.StoreAsync(prefix, 3 * silo, prefix.Blocks()[(3 * silo)..((3 * silo) + 3)])).Stored);
        }

        await using var reader = silos.Connect(0);
        await Eventually.TrueAsync("the whole prefix is found", async () => (await reader.MatchAsync(prefix)).Blocks == 9);
        await LoadAsync(reader, prefix, 9);
        Assert.All((await reader.GetStatisticsAsync()).Silos, silo => Assert.Equal(3, silo.LoadedBlocks));

        await silos[2].KillAsync();
        await using var another = silos.Connect(1, SiloCluster.Within(TimeSpan.FromSeconds(10)));
        await LoadAsync(another, prefix, 6);
    }

    private static async Task LoadAsync(KvCacheClient client, KvPrefix prefix, int expected)
    {
        var memory = prefix.Memory(prefix.BlockCount);
        var layers = 0;
        await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory))
            Assert.Equal((layers++, expected), (loaded.Layer, loaded.Blocks));
        Assert.Equal(prefix.Namespace.Layout.Layers, layers);
        for (var block = 0; block < expected; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
    }
}
