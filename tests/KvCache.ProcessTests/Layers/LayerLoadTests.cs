using KvCache.Caching;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>Loading layer by layer from a silo.</summary>
public sealed class LayerLoadTests(LayerLoadTests.Silo shared) : IClassFixture<LayerLoadTests.Silo>
{
    // layers of 32 KiB
    private static readonly CacheNamespace Small = Prefixes.Namespace("layers", KvLayout.Create(6, 2, 64, KvDataType.Float16, 64));
    private static readonly CacheNamespace Uneven =
        Prefixes.Namespace("uneven", KvLayout.Opaque([0, 8, 3 << 20, (3 << 20) + 4096, 4 << 20], 16));
    // layers of 1 MiB
    private static readonly CacheNamespace Large = Prefixes.Namespace("large", KvLayout.Create(8, 8, 128, KvDataType.Float16, 256));

    private SiloProcess Process => shared.Process;

    [Theory]
    [InlineData("tcp")]
    [InlineData("unix")]
    [InlineData("shared memory")]
    public async Task Layers_come_in_order_with_the_bytes_that_were_stored(string way)
    {
        await using var client = way == "tcp"
            ? Process.Connect()
            : Process.Connect(Process.Unix, options => options.SharedMemory = way != "unix");
        foreach (var prefix in (KvPrefix[])[Prefixes.New(Small, 8), Prefixes.New(Uneven, 3), Prefixes.New(Small, 300)])
        {
            await client.MustStoreAsync(prefix);
            for (var round = 0; round < 2; round++)
                await MustLoadLayersAsync(client, prefix, 0, prefix.BlockCount);
            await MustLoadLayersAsync(client, prefix, 1, 2, new LayerRange(1, 3));
            Assert.Equal(prefix.BlockCount, (await client.DeleteAsync(prefix)).Deleted);
        }

        Process.AssertHealthy();
    }

    [Fact]
    public async Task Layers_of_what_is_not_stored_do_not_come()
    {
        await using var client = Process.Connect();
        var prefix = Prefixes.New(Small, 5);
        await client.StoreAsync(prefix, 0, prefix.Blocks()[..3]);
        var memory = prefix.Memory(5);
        var layers = await client.LoadLayersAsync(prefix, 0, memory).ToArrayAsync(TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(0, 6).Select(layer => new LoadedLayer(layer, 3, MissReason.Absent)), layers);
        for (var block = 0; block < 3; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)));

        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Absent)],
            await client.LoadLayersAsync(prefix, 3, memory[3..]).ToArrayAsync(TestContext.Current.CancellationToken));
        Assert.Empty(await client.LoadLayersAsync(prefix, 0, []).ToArrayAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_reader_gets_the_first_layer_while_later_ones_are_on_the_way()
    {
        await using var direct = Process.Connect();
        using var relay = new Relay(Process.Tcp);
        await using var client = Process.Connect(relay.Endpoint);
        var prefix = Prefixes.New(Large, 4);
        await direct.MustStoreAsync(prefix);
        Assert.Equal(4, (await client.LoadAsync(prefix, 0, prefix.Memory(4))).Blocks); // connected

        relay.Limit(fromSilo: 11 << 20); // two layers and a half
        var memory = prefix.Memory(4);
        var next = 0;
        await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory))
        {
            Assert.Equal(new LoadedLayer(next++, 4, MissReason.None), loaded);
            CheckLayer(prefix, memory, 0, loaded.Layer, Large.Layout.AllLayers);
            if (next == 2)
                relay.Open();
        }

        Assert.Equal(8, next);
    }

    [Fact]
    public async Task Nothing_is_written_behind_a_reader_that_leaves_early()
    {
        await using var direct = Process.Connect();
        using var relay = new Relay(Process.Tcp);
        await using var client = Process.Connect(relay.Endpoint);
        var prefix = Prefixes.New(Large, 4);
        await direct.MustStoreAsync(prefix);
        Assert.Equal(4, (await client.LoadAsync(prefix, 0, prefix.Memory(4))).Blocks);

        relay.Limit(fromSilo: 11 << 20);
        var memory = prefix.Memory(4);
        await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory))
        {
            if (loaded.Layer == 1)
                break;
        }

        await NothingIsWrittenAsync(memory, relay);
        await MustLoadLayersAsync(client, prefix, 0, 4);
        Assert.Equal(0, (await client.GetStatisticsAsync()).Silos[0].Failures);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_deadline_and_a_cancelled_token_end_the_load(bool cancel)
    {
        await using var direct = Process.Connect();
        using var relay = new Relay(Process.Tcp);
        await using var client =
            Process.Connect(relay.Endpoint, options => options.LoadTimeout = cancel ? Eventually.Bound : TimeSpan.FromSeconds(1));
        var prefix = Prefixes.New(Large, 4);
        await direct.MustStoreAsync(prefix);
        relay.Limit(fromSilo: 11 << 20);
        var memory = prefix.Memory(4);
        using var cancelled = new CancellationTokenSource();
        var layers = new List<LoadedLayer>();
        try
        {
            await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory, cancellationToken: cancelled.Token))
            {
                layers.Add(loaded);
                if (cancel && loaded.Layer == 1)
                    await cancelled.CancelAsync();
            }

            Assert.False(cancel);
            Assert.Equal([new(0, 4, MissReason.None), new(1, 4, MissReason.None), new(2, 0, MissReason.Deadline)], layers);
        }
        catch (OperationCanceledException)
        {
            Assert.True(cancel);
        }

        await NothingIsWrittenAsync(memory, relay);
    }

    [Fact]
    public async Task What_one_connection_may_not_hold_comes_over_another_one()
    {
        await using var client = Process.Connect();
        var prefix = Prefixes.New(Large, 20); // 160 MiB; a connection holds 128
        await client.MustStoreAsync(prefix);
        await MustLoadLayersAsync(client, prefix, 0, 20);
        Assert.Equal(20, (await client.DeleteAsync(prefix)).Deleted);
    }

    [Fact]
    public void Bad_requests_are_told_and_another_tenant_s_namespace_cannot_be_opened()
    {
        using var peer = RawPeer.Authenticated(Process.Tcp, "default", "");
        var handle = peer.Open(Small);
        Request(flags: 64, first: 0, count: 1);
        peer.ExpectError(WireStatus.InvalidRequest, "flags");
        Request(flags: 0, first: 5, count: 2);
        peer.ExpectError(WireStatus.InvalidRequest, "layers");
        peer.Send(FrameType.OpenNamespace, writer => writer.Bytes((Small with { Tenant = "other" }).Encoded));
        peer.ExpectError(WireStatus.NamespaceForbidden, "tenant");

        void Request(byte flags, uint first, uint count) => peer.Send(FrameType.GetLayers, writer =>
        {
            writer.UInt32(handle);
            writer.UInt8(flags);
            writer.UInt32(first);
            writer.UInt32(count);
            writer.UInt32(0);
        });
    }

    private static async Task NothingIsWrittenAsync(Memory<byte>[] memory, Relay relay)
    {
        foreach (var block in memory)
            block.Span.Fill(0xA5);
        relay.Open();
        relay.Cut(); // behind what was kept back
        await Task.Yield();
        foreach (var block in memory)
            Assert.True(block.Span.IndexOfAnyExcept((byte)0xA5) < 0, "The load wrote after its end.");
    }

    private static async Task MustLoadLayersAsync(KvCacheClient client, KvPrefix prefix, int first, int count, LayerRange? layers = null)
    {
        var range = layers ?? prefix.Namespace.Layout.AllLayers;
        Memory<byte>[] memory =
            [.. Enumerable.Range(0, count).Select(_ => (Memory<byte>)new byte[prefix.Namespace.Layout.RangeBytes(range)])];
        var next = range.First;
        await foreach (var loaded in client.LoadLayersAsync(prefix, first, memory, layers))
        {
            Assert.Equal(new LoadedLayer(next++, count, MissReason.None), loaded);
            CheckLayer(prefix, memory, first, loaded.Layer, range);
        }

        Assert.Equal(range.End, next);
    }

    private static void CheckLayer(KvPrefix prefix, Memory<byte>[] memory, int first, int layer, LayerRange range)
    {
        var layout = prefix.Namespace.Layout;
        var start = layout.LayerOffset(layer) - layout.LayerOffset(range.First);
        for (var i = 0; i < memory.Length; i++)
            Assert.True(Content.IsRight(
                memory[i].Span.Slice(start, layout.LayerBytes(layer)), prefix.Key(first + i), layout.LayerOffset(layer)),
                $"Layer {layer} of block {first + i} has wrong bytes.");
    }

    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() =>
            Process = await SiloProcess.StartAsync(new SiloSettings(Arena: "512MiB", UseArenaFile: true, Arguments: ["--shared-memory"]));

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
