using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.LmCache;
using KvCache.ProcessTests.Resp;
using KvCache.ProcessTests.Tenants;
using KvCache.Testing;
using KvCache.TorchSharp;
using Xunit;

namespace KvCache.ProcessTests;

/// <summary>Fault T2: what a tenant does through any door costs no other tenant a block of its share.</summary>
public sealed class NoisyTenantTests
{
    private const int AcmeBlocks = 800; // 50 of the 51.2 MiB that are guaranteed
    private const int Again = 100;
    private const int BigValue = 32 << 20;

    [Fact]
    public async Task A_tenant_keeps_its_share_whatever_another_one_does_through_every_door()
    {
        await using var silo = await TwoTenants.StartAsync();
        await using var acme = silo.ConnectAs("acme");
        await using var evil = silo.ConnectAs("evil");
        var kept = TwoTenants.Prefix("acme", AcmeBlocks - Again);
        var again = TwoTenants.Prefix("acme", Again);
        await acme.MustStoreAsync(kept);
        await acme.MustStoreAsync(again);
        var spoil = Enumerable.Range(0, 20).Select(_ => TwoTenants.Prefix("evil", 50)).ToArray();
        await StoreSpoilAsync();
        await AssertKeptAsync("1,000 blocks were stored");
        Assert.True((await evil.MatchAsync(spoil[^1])).Blocks > 0, "What is not used is lent.");
        var open = new List<IDisposable>();
        try
        {
            open.AddRange(AnnounceLayers(silo, connections: 4, blocks: 250));
            Assert.Equal(0, await silo.StoreCounterAsync("writing"));
            await AssertKeptAsync("layers were announced");

            open.AddRange(SendALittle(silo, connections: 30));
            await Eventually.TrueAsync("some writes have begun", async () => await silo.StoreCounterAsync("writing") > 0);
            await AssertKeptAsync("30 connections had sent 1 kB each");

            open.AddRange(AnnounceValues(silo));
            await AssertKeptAsync("values were announced to the Redis and lm:// endpoints");

            open.AddRange(HoldAndPin(silo, spoil));
            await AssertKeptAsync("all that could be held, pinned and mapped was");

            // What is lent comes back, also while everything above is still held.
            Assert.Equal(Again, (await acme.DeleteAsync(again)).Deleted);
            await StoreSpoilAsync();
            await acme.MustStoreAsync(again);
            await AssertKeptAsync("some of them were stored again");
            await acme.MustLoadAsync(kept);
            await acme.MustLoadAsync(again);
        }
        finally
        {
            open.ForEach(peer => peer.Dispose());
        }

        await Eventually.TrueAsync("no write is left", async () => await silo.StoreCounterAsync("writing") == 0);
        silo.AssertHealthy();

        async Task StoreSpoilAsync()
        {
            foreach (var prefix in spoil)
                await evil.StoreAsync(prefix, 0, prefix.Blocks());
        }

        async Task AssertKeptAsync(string when)
        {
            var blocks = (await acme.MatchAsync(kept)).Blocks + (await acme.MatchAsync(again)).Blocks;
            Assert.True(blocks == AcmeBlocks, $"After {when}, {blocks} of {AcmeBlocks} blocks are left.");
        }
    }

    [Fact]
    public async Task A_tenant_that_keeps_the_silo_busy_waits_and_the_other_one_does_not()
    {
        await using var silo = await TwoTenants.StartAsync();
        await using var acme = silo.ConnectAs("acme");
        await using var evil = silo.ConnectAs("evil");
        var (theirs, ours) = (TwoTenants.Prefix("evil", 60), TwoTenants.Prefix("acme", 60));
        await evil.MustStoreAsync(theirs);
        await acme.MustStoreAsync(ours);
        using var enough = new CancellationTokenSource();
        var floods = Enumerable.Range(0, 4 * Environment.ProcessorCount + 8).Select(_ => Task.Factory.StartNew(
            () =>
            {
                using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(silo.Tcp)!, "evil", TwoTenants.EvilSecret);
                var memory = theirs.Memory(theirs.BlockCount);
                while (!enough.IsCancellationRequested)
                {
                    var delivered = 0;
                    connection.Get(
                        theirs.Namespace, theirs.Chain.Hashes, theirs.Namespace.Layout.AllLayers, memory, 0, localOnly: true,
                        ref delivered);
                    Assert.Equal(theirs.BlockCount, delivered);
                }
            },
            TaskCreationOptions.LongRunning)).ToArray();
        try
        {
            using var http = new HttpClient();
            await Eventually.TrueAsync("the busy tenant waits for turns", async () =>
            {
                await acme.MustLoadAsync(ours);
                return (await http.GetStringAsync($"{silo.Ready.Http}/metrics"))
                    .Contains("kvcache_requests_waited_total{", StringComparison.Ordinal);
            });
            for (var i = 0; i < 20; i++)
                await acme.MustLoadAsync(ours);
            var metrics = await http.GetStringAsync($"{silo.Ready.Http}/metrics");
            Assert.True(Metrics.Value(metrics, "kvcache_requests_waited", "tenant=\"evil\"") > 0);
            Assert.DoesNotContain(
                "tenant=\"acme\"", string.Concat(metrics.Split('\n').Where(line => line.StartsWith("kvcache_requests_waited"))));
        }
        finally
        {
            await enough.CancelAsync();
            await Task.WhenAll(floods);
        }
    }

    private static RawPeer Evil(SiloProcess silo) => RawPeer.Authenticated(silo.Tcp, "evil", TwoTenants.EvilSecret);

    private static IEnumerable<IDisposable> AnnounceLayers(SiloProcess silo, int connections, int blocks)
    {
        for (var i = 0; i < connections; i++)
        {
            var peer = Evil(silo);
            var prefix = TwoTenants.Prefix("evil", blocks);
            peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(prefix.Namespace), prefix, WireProtocol.PutByLayers),
                WireProtocol.PutPayloadBytes(TwoTenants.Layout, blocks));
            yield return peer;
        }
    }

    private static IEnumerable<IDisposable> SendALittle(SiloProcess silo, int connections)
    {
        for (var i = 0; i < connections; i++)
        {
            var peer = Evil(silo);
            var prefix = TwoTenants.Prefix("evil", 16);
            peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(prefix.Namespace), prefix),
                WireProtocol.PutPayloadBytes(TwoTenants.Layout, 16));
            peer.Send(new byte[1000]);
            yield return peer;
        }
    }

    private static IEnumerable<IDisposable> AnnounceValues(SiloProcess silo)
    {
        for (var i = 0; i < 30; i++)
        {
            var redis = new RespPeer(silo);
            Assert.Equal("+OK", redis.Call("AUTH", "evil", TwoTenants.EvilSecret));
            redis.SendRaw($"*3\r\n$3\r\nSET\r\n$2\r\nk{i % 10}\r\n${BigValue >> (i % 4)}\r\nabc");
            yield return redis;
            var lm = new LmCachePeer(silo);
            lm.SendHeader(1, $"k{i}", BigValue >> (i % 4), LmShape.Chunk);
            lm.SendRaw("abc"u8);
            yield return lm;
        }
    }

    private static IEnumerable<IDisposable> HoldAndPin(SiloProcess silo, KvPrefix[] prefixes)
    {
        foreach (var prefix in prefixes[^4..])
        {
            var peer = RawPeer.Authenticated(silo.Unix, "evil", TwoTenants.EvilSecret);
            var handle = peer.Open(prefix.Namespace);
            peer.Send(FrameType.Match, writer =>
            {
                writer.UInt32(30_000);
                writer.UInt32(1);
                writer.UInt32(handle);
                writer.UInt32((uint)prefix.BlockCount);
                writer.Hashes(prefix.Chain.Hashes);
            });
            peer.ExpectReply(FrameType.MatchReply, out _);
            peer.Send(FrameType.MapArena, writer => writer.UInt64(1 << 20));
            peer.ExpectReply(FrameType.MapArenaReply, out _);
            peer.Send(FrameType.GetMapped, writer =>
            {
                writer.UInt32(handle);
                writer.UInt8(WireProtocol.GetLocalOnly);
                writer.UInt32((uint)prefix.BlockCount);
                writer.Hashes(prefix.Chain.Hashes);
            });
            peer.ExpectReply(FrameType.GetMappedReply, out _);
            peer.Send(FrameType.Pin, writer =>
            {
                writer.UInt32(handle);
                writer.UInt64(uint.MaxValue);
                writer.UInt32((uint)prefix.BlockCount);
                writer.Hashes(prefix.Chain.Hashes);
            });
            peer.ExpectReply(FrameType.PinReply, out _);
            yield return peer;
        }
    }
}
