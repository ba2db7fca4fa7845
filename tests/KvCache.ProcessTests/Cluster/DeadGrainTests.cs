using KvCache.Engine.Wire;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Fault R7: a call about many blocks is answered for each of them.</summary>
[Trait("run", "kills")]
public sealed class DeadGrainTests
{
    private const int Blocks = 4;

    private static readonly CacheNamespace Ns = Prefixes.Namespace("dead", KvLayout.Opaque([0, 4096], 16));

    [Fact]
    public async Task A_pin_while_a_silo_has_just_died_costs_no_more_than_its_blocks()
    {
        await using var silos = await SiloCluster.StartAsync(2);
        await using var here = silos.Connect(0);
        await using var there = silos.Connect(1);
        KvPrefix mine = Prefixes.New(Ns, Blocks), theirs = Prefixes.New(Ns, Blocks);
        await here.MustStoreAsync(mine);
        await there.MustStoreAsync(theirs);
        await Eventually.TrueAsync("the silo knows both", async () => (await here.MatchAsync(theirs)).Blocks == Blocks);
        using var peer = RawPeer.Authenticated(silos[0].Tcp, "default", "");
        var handle = peer.Open(Ns);

        await silos[1].KillAsync();
        for (var round = 0; round < 3; round++)
        {
            peer.Send(FrameType.Pin, writer =>
            {
                writer.UInt32(handle);
                writer.UInt64(60_000);
                writer.UInt32(2 * Blocks);
                writer.Hashes(theirs.Chain.Hashes);
                writer.Hashes(mine.Chain.Hashes);
            });
            peer.ExpectReply(FrameType.PinReply, out var meta);
            Assert.Equal(2 * Blocks, BitConverter.ToInt32(meta));
            Assert.DoesNotContain((byte)ItemOutcome.Done, meta[sizeof(int)..(sizeof(int) + Blocks)]);
            if (round == 2)
                await silos.AllCountAsync(1, "the silo is declared dead");
        }

        peer.Send(FrameType.Stat, _ => { });
        peer.ExpectReply(FrameType.StatReply, out _);
        Assert.Equal(Blocks, await here.PinAsync(mine, TimeSpan.FromSeconds(60))); // its own grains answer
    }
}
