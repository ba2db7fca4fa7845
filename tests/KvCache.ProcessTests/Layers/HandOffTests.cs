using System.Threading.Channels;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>One node reads a block, layer by layer, that another one is still writing.</summary>
public sealed class HandOffTests(HandOffTests.Silo shared) : IClassFixture<HandOffTests.Silo>
{
    private const int Layers = 6;

    // layers of 32 KiB
    private static readonly CacheNamespace Ns = Prefixes.Namespace("hand-off", KvLayout.Create(Layers, 2, 64, KvDataType.Float16, 64));
    // layers of 1 MiB
    private static readonly CacheNamespace Large = Prefixes.Namespace("hand-off", KvLayout.Create(Layers, 8, 128, KvDataType.Float16, 256));

    private readonly Channel<int> _ready = Channel.CreateUnbounded<int>();

    private SiloProcess Process => shared.Process;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    public async Task A_follower_has_each_layer_before_the_writer_hands_over_the_next_and_nobody_else_sees_the_block(int blocks)
    {
        await using KvCacheClient writer = Process.Connect(), reader = Process.Connect(), other = Process.Connect(Process.Unix);
        var prefix = Prefixes.New(Ns, blocks);
        var storing = writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        var memory = prefix.Memory(blocks);
        var next = 0;
        await using var layers = reader.FollowLayersAsync(prefix, 0, memory).GetAsyncEnumerator(Token);
        for (; next < Layers; next++)
        {
            _ready.Writer.TryWrite(next);
            Assert.True(await layers.MoveNextAsync());
            Assert.Equal(new LoadedLayer(next, blocks, MissReason.None), layers.Current);
            CheckLayer(prefix, memory, next);
            if (next == 2)
                await NobodySeesAsync(other, prefix);
            Assert.True(next == Layers - 1 || !storing.IsCompleted);
        }

        Assert.False(await layers.MoveNextAsync());
        Assert.Equal(new StoreResult(blocks, 0, 0, MissReason.None, null), await storing);
        await other.MustLoadAsync(prefix);
        await foreach (var loaded in reader.FollowLayersAsync(prefix, 0, memory)) // a block that is stored is followed to its end at once
            Assert.Equal(blocks, loaded.Blocks);
        Process.AssertHealthy();
    }

    [Fact]
    public async Task A_follower_who_comes_first_waits_for_the_writer()
    {
        await using KvCacheClient writer = Process.Connect(), reader = Process.Connect();
        var prefix = Prefixes.New(Ns, 2);
        var memory = prefix.Memory(2);
        await using var layers = reader.FollowLayersAsync(prefix, 0, memory).GetAsyncEnumerator(Token);
        var first = layers.MoveNextAsync();
        Assert.False(first.IsCompleted);
        var storing = writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        _ready.Writer.TryWrite(0);
        Assert.True(await first);
        Assert.Equal(new LoadedLayer(0, 2, MissReason.None), layers.Current);
        _ready.Writer.TryWrite(Layers - 1);
        for (var layer = 1; layer < Layers; layer++)
        {
            Assert.True(await layers.MoveNextAsync());
            Assert.Equal(new LoadedLayer(layer, 2, MissReason.None), layers.Current);
            CheckLayer(prefix, memory, layer);
        }

        Assert.False(await layers.MoveNextAsync());
        Assert.Equal(2, (await storing).Stored);
    }

    [Theory]
    [InlineData("connection")]
    [InlineData("end of the layers")]
    [InlineData("exception")]
    [InlineData("deletion")]
    public async Task A_write_that_comes_to_nothing_ends_the_follower_s_load_who_falls_back(string how)
    {
        using var relay = new Relay(Process.Tcp);
        await using KvCacheClient writer = Process.Connect(relay.Endpoint), reader = Process.Connect();
        var prefix = Prefixes.New(Ns, 3);
        var storing = writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        _ready.Writer.TryWrite(1);
        var memory = prefix.Memory(3);
        var seen = new List<LoadedLayer>();
        await foreach (var loaded in reader.FollowLayersAsync(prefix, 0, memory))
        {
            seen.Add(loaded);
            if (loaded.Layer != 1)
                continue;
            switch (how)
            {
                case "connection": relay.Cut(); break;
                case "end of the layers": _ready.Writer.Complete(); break;
                case "exception": _ready.Writer.Complete(new InvalidDataException("The model has failed.")); break;
                default: await reader.DeleteAsync(prefix); break;
            }
        }

        Assert.Equal([new(0, 3, MissReason.None), new(1, 3, MissReason.None), new(2, 0, MissReason.Absent)], seen);
        if (how == "deletion")
            _ready.Writer.TryWrite(Layers - 1);
        if (how == "exception")
        {
            await Assert.ThrowsAsync<InvalidDataException>(() => storing);
        }
        else
        {
            _ready.Writer.TryWrite(Layers - 1);
            var stored = await storing;
            Assert.Equal(
                how switch
                {
                    "connection" => (0, MissReason.Unavailable, null),
                    "deletion" => (0, MissReason.None, PutOutcome.Revoked),
                    _ => (0, MissReason.Absent, (PutOutcome?)null)
                },
                (stored.Stored, stored.Reason, stored.FirstRefusal));
        }

        await NobodySeesAsync(reader, prefix);
        await reader.MustStoreAsync(prefix); // the write does not stand in anybody's way
        await reader.MustLoadAsync(prefix);
        Process.AssertHealthy();
    }

    [Fact]
    public async Task A_block_that_arrives_damaged_is_never_followed_to_its_end()
    {
        using var peer = RawPeer.Authenticated(Process.Tcp, "default", "");
        await using var reader = Process.Connect();
        var prefix = Prefixes.New(Ns, 1);
        var content = Content.Of(prefix, 0);
        peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(Ns), prefix), content.Length + (Layers * sizeof(uint)));
        peer.Send(content.AsSpan(0, Ns.Layout.LayerOffset(2)));
        var memory = prefix.Memory(1);
        var seen = new List<LoadedLayer>();
        await foreach (var loaded in reader.FollowLayersAsync(prefix, 0, memory))
        {
            seen.Add(loaded);
            if (loaded.Layer != 1)
                continue;
            peer.Send(content.AsSpan(Ns.Layout.LayerOffset(2)));
            peer.Send(new byte[Layers * sizeof(uint)]); // not the checksums
        }

        // Between the bytes and their checksums the silo has handed over all layers but the last, or fewer.
        Assert.Equal((0, MissReason.Absent), (seen[^1].Blocks, seen[^1].Reason));
        Assert.InRange(seen[^1].Layer, 2, Layers - 1);
        peer.ExpectReply(FrameType.PutReply, out var reply);
        Assert.Equal((byte)PutOutcome.Corrupt, reply[4]);
        Assert.Equal(0, (await reader.MatchAsync(prefix)).Blocks);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_follower_of_some_layers_gets_the_last_of_them_when_the_block_is_stored(bool giveUp)
    {
        await using KvCacheClient writer = Process.Connect(), reader = Process.Connect();
        var prefix = Prefixes.New(Ns, 1);
        var storing = writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        _ready.Writer.TryWrite(Layers - 2); // more than is asked for
        var range = new LayerRange(1, 2);
        await using var layers = reader.FollowLayersAsync(prefix, 0, [new byte[Ns.Layout.RangeBytes(range)]], range)
            .GetAsyncEnumerator(Token);
        Assert.True(await layers.MoveNextAsync());
        Assert.Equal(new LoadedLayer(1, 1, MissReason.None), layers.Current);
        var last = layers.MoveNextAsync().AsTask();
        await NobodySeesAsync(writer, prefix); // which takes longer than the layer would
        Assert.False(last.IsCompleted);
        if (giveUp)
            _ready.Writer.Complete();
        else
            _ready.Writer.TryWrite(Layers - 1);
        Assert.True(await last);
        Assert.Equal(giveUp ? new LoadedLayer(2, 0, MissReason.Absent) : new LoadedLayer(2, 1, MissReason.None), layers.Current);
        Assert.Equal(giveUp ? 0 : 1, (await storing).Stored);
    }

    [Fact]
    public async Task A_follower_that_does_not_read_holds_up_no_writer_and_leaves_no_memory_behind()
    {
        using var relay = new Relay(Process.Tcp);
        await using KvCacheClient writer = Process.Connect(), reader = Process.Connect(relay.Endpoint);
        var prefix = Prefixes.New(Large, 4); // 24 MiB: more than the buffers on the way take
        var used = await UsedBytesAsync(writer);
        var storing = writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        _ready.Writer.TryWrite(0);
        await using (var layers = reader.FollowLayersAsync(prefix, 0, prefix.Memory(4)).GetAsyncEnumerator(Token))
        {
            Assert.True(await layers.MoveNextAsync());
            relay.Limit(fromSilo: 0);
            _ready.Writer.TryWrite(Layers - 1);
            Assert.Equal(4, (await storing).Stored);
            Assert.Equal(4, (await writer.DeleteAsync(prefix)).Deleted);
            Assert.NotEqual(used, await UsedBytesAsync(writer)); // the follower still reads it
        }

        relay.Cut();
        await Eventually.TrueAsync("the memory is free again", async () => await UsedBytesAsync(writer) == used);
    }

    [Fact]
    public async Task A_writer_of_many_blocks_reserves_no_more_than_a_connection_may_hold()
    {
        await using var writer = Process.Connect();
        var prefix = Prefixes.New(Large, 12); // 72 MiB; a quarter of the arena is 64
        _ready.Writer.TryWrite(Layers - 1);
        var stored = await writer.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token);
        Assert.Equal((10, 2, PutOutcome.NoMemory), (stored.Stored, stored.Refused, stored.FirstRefusal));
        Assert.Equal(10, (await writer.MatchAsync(prefix)).Blocks);
        stored = await writer.StoreLayersAsync(
            prefix, 0, prefix.Blocks(), new[] { Layers - 1 }.ToAsyncEnumerable(), cancellationToken: Token);
        Assert.Equal((2, 10, 0), (stored.Stored, stored.AlreadyStored, stored.Refused));
        await writer.MustLoadAsync(prefix);
        await writer.DeleteAsync(prefix);
    }

    [Fact]
    public async Task Nobody_follows_another_tenant_s_write()
    {
        const string SecretA = "a secret of the tenant alpha", SecretB = "a secret of the tenant beta";
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
        {
            ["KvCache:Tenants:alpha:Secret"] = SecretA,
            ["KvCache:Tenants:beta:Secret"] = SecretB,
            ["KvCache:DataPlane:FollowPatience"] = "00:00:00.2",
        }));
        var (alphas, betas) = (Ns with { Tenant = "alpha" }, Ns with { Tenant = "beta" });
        await using var alpha = Connect("alpha", SecretA);
        await using var beta = Connect("beta", SecretB);
        var prefix = Prefixes.New(alphas, 1);
        var storing = alpha.StoreLayersAsync(prefix, 0, prefix.Blocks(), _ready.Reader.ReadAllAsync(Token), cancellationToken: Token)
            .AsTask();
        _ready.Writer.TryWrite(0);
        await using var own = Connect("alpha", SecretA);
        await Eventually.TrueAsync("the tenant's own reader follows, who waits for the begin no longer than a moment", async () =>
        {
            await using var layers = own.FollowLayersAsync(prefix, 0, prefix.Memory(1)).GetAsyncEnumerator(Token);
            return await layers.MoveNextAsync() && layers.Current.Blocks == 1;
        });

        // The tokens are the same; the namespace is the tenant's own, or is refused.
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Absent)],
            await beta.FollowLayersAsync(new KvPrefix(betas, prefix.Chain), 0, prefix.Memory(1)).ToArrayAsync(Token));
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Refused)], await beta.FollowLayersAsync(prefix, 0, prefix.Memory(1)).ToArrayAsync(Token));
        _ready.Writer.TryWrite(Layers - 1);
        Assert.Equal(1, (await storing).Stored);

        KvCacheClient Connect(string tenant, string secret) =>
            silo.Connect(configure: options => (options.Tenant, options.Secret) = (tenant, secret));
    }

    private static async Task NobodySeesAsync(KvCacheClient client, KvPrefix prefix)
    {
        Assert.Equal(0, (await client.MatchAsync(prefix)).Blocks);
        Assert.Equal(new LoadResult(0, MissReason.Absent), await client.LoadAsync(prefix, 0, prefix.Memory(prefix.BlockCount)));
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Absent)],
            await client.LoadLayersAsync(prefix, 0, prefix.Memory(prefix.BlockCount)).ToArrayAsync(Token));
    }

    private static async Task<long> UsedBytesAsync(KvCacheClient client) => await client.StoreCounterAsync("arenaUsedBytes");

    private static void CheckLayer(KvPrefix prefix, Memory<byte>[] memory, int layer)
    {
        var (start, bytes) = (prefix.Namespace.Layout.LayerOffset(layer), prefix.Namespace.Layout.LayerBytes(layer));
        for (var block = 0; block < memory.Length; block++)
            Assert.True(Content.IsRight(memory[block].Span.Slice(start, bytes), prefix.Key(block), start),
                $"Layer {layer} of block {block} has wrong bytes.");
    }

    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() =>
            Process = await SiloProcess.StartAsync(
            new SiloSettings(
            Arena: "256MiB", Settings: new Dictionary<string, string> { ["KvCache:DataPlane:FollowPatience"] = "00:01:00" }));

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
