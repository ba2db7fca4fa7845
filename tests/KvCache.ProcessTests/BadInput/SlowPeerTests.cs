using System.Diagnostics;
using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Peers that stop, creep or break off lose their own connection and give back what they held.</summary>
public sealed class SlowPeerTests(GuardedSilo silo) : GuardedSiloTests(silo, SlowPeerTests.Ns, blocks: 2)
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("slow", KvLayout.Opaque([0, 1 << 20, 2 << 20], 16), GuardedSilo.Tenant);

    [Fact]
    public void A_peer_that_connects_and_says_nothing_is_closed()
    {
        using var peer = new RawPeer(Process.Tcp);
        ExpectClosed(peer);
    }

    [Fact]
    public void A_peer_that_stops_behind_hello_is_closed()
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Hello(GuardedSilo.Tenant);
        peer.ExpectReply(FrameType.HelloReply, out _);
        ExpectClosed(peer);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(40)]
    public void A_peer_that_stops_in_the_middle_of_a_frame_is_closed(int bytes)
    {
        using var peer = Authenticated();
        peer.Send(peer.Frame(FrameType.OpenNamespace, writer => writer.Bytes(Ns.Encoded)).AsSpan(0, bytes));
        ExpectClosed(peer);
    }

    [Fact]
    public async Task A_peer_that_drips_the_meta_part_of_a_frame_is_closed()
    {
        using var peer = Authenticated();
        var frame = peer.Frame(FrameType.Match, writer => writer.Take(100_000));
        var sent = 0;
        await peer.SendUntilClosedAsync(() => [frame[sent++]], TimeSpan.FromMilliseconds(20));
        Assert.InRange(sent, 1, frame.Length - 1);
    }

    [Fact]
    public async Task A_peer_that_drips_the_bytes_of_a_put_is_closed_and_the_memory_comes_back()
    {
        using var peer = Authenticated();
        var used = await Process.StoreCounterAsync("arenaUsedBytes");
        var prefix = Prefixes.New(Ns, 4);
        peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(Ns), prefix), 4L * (Ns.Layout.BlockBytes + 8));

        await peer.SendUntilClosedAsync(() => [1, 2, 3], TimeSpan.FromMilliseconds(20));

        await ExpectMemoryBackAsync(used, prefix);
    }

    [Fact]
    public async Task A_put_that_breaks_off_in_the_middle_is_never_visible_and_its_memory_comes_back()
    {
        var used = await Process.StoreCounterAsync("arenaUsedBytes");
        var prefix = Prefixes.New(Ns, 6);
        using (var peer = Authenticated())
        {
            peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(Ns), prefix), 6L * (Ns.Layout.BlockBytes + 8));
            peer.Send(Content.Of(prefix, 0).AsSpan(0, Ns.Layout.BlockBytes - 1));
            await Eventually.TrueAsync("the silo holds memory for the put", async () => await Process.StoreCounterAsync("writing") > 0);
            Assert.Equal(0, (await Bystander.MatchAsync(prefix)).Blocks);
        }

        await ExpectMemoryBackAsync(used, prefix);
        await Bystander.MustStoreAsync(prefix);
        await Bystander.MustLoadAsync(prefix);
        await Bystander.DeleteAsync(prefix);
    }

    [Fact]
    public async Task A_reader_that_does_not_read_is_closed_and_its_leases_end()
    {
        using var peer = Authenticated();
        var handle = peer.Open(Ns);
        for (var i = 0; i < 64; i++)
        {
            peer.Send(FrameType.Get, writer =>
            {
                writer.UInt32(handle);
                writer.UInt8(0);
                writer.UInt32(0);
                writer.UInt32(2);
                writer.UInt32((uint)Stored.BlockCount);
                writer.Hashes(Stored.Chain.Hashes);
            });
        }

        // Nothing is read: the silo fills the socket's buffers, waits, and gives up.
        await Eventually.TrueAsync("the blocks are leased", async () => await Process.StoreCounterAsync("leasedBlocks") > 0);
        await Eventually.TrueAsync(
            "the blocks are not leased any more", async () => await Process.StoreCounterAsync("leasedBlocks") == 0);
    }

    [Fact]
    public async Task Connections_over_the_limit_are_told_and_those_below_go_on()
    {
        var peers = new List<RawPeer>();
        try
        {
            var connected = (await Process.SiloAsync()).GetProperty("connections").GetInt32();
            for (var i = connected; i < 24; i++)
                peers.Add(Authenticated());
            using (var refused = new RawPeer(Process.Tcp))
            {
                refused.Prove(GuardedSilo.Tenant, GuardedSilo.Secret);
                refused.ExpectError(WireStatus.LimitExceeded, "at most 24 connections");
                refused.ExpectClosed();
            }

            await Bystander.MustLoadAsync(Stored);
        }
        finally
        {
            peers.ForEach(peer => peer.Dispose());
        }

        await Eventually.TrueAsync(
            "there is room for a connection again", async () => (await Process.SiloAsync()).GetProperty("connections").GetInt32() < 24);
        using var next = Authenticated();
        next.Open(Ns);
    }

    private static void ExpectClosed(RawPeer peer)
    {
        var began = Stopwatch.GetTimestamp();
        peer.ExpectClosed();
        Report.Line($"The silo closed the connection after {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s.");
    }

    private async Task ExpectMemoryBackAsync(long used, KvPrefix prefix)
    {
        await Eventually.TrueAsync(
            "the memory of the put is back", async () => await Process.StoreCounterAsync("arenaUsedBytes") == used);
        Assert.Equal(0, await Process.StoreCounterAsync("writing"));
        Assert.Equal(0, (await Bystander.MatchAsync(prefix)).Blocks);
    }

    private RawPeer Authenticated() => RawPeer.Authenticated(Process.Tcp, GuardedSilo.Tenant, GuardedSilo.Secret);
}
