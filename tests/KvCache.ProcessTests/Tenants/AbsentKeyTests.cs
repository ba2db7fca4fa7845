using System.Security.Cryptography;
using KvCache.Engine.Index;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using Xunit;

namespace KvCache.ProcessTests;

/// <summary>Fault T5 on a cluster: pins and deletions of keys that nobody has leave every silo as it was, but for the last few of a tenant
/// where it deleted.</summary>
public sealed class AbsentKeyTests
{
    private const int Absent = 16_384; // as many as a frame may have
    private const int Frames = 8;

    [Fact]
    public async Task Pins_and_deletions_of_absent_keys_leave_no_activation_no_message_and_a_bounded_memory_of_them()
    {
        // A silo that was not heard for long may have anything: on a machine that is slow just now, both have patience.
        await using var cluster = await SiloCluster.StartAsync(2, settings: new SiloSettings(Settings: new Dictionary<string, string>
        {
            ["KvCache:Cluster:SilenceLimit"] = "00:01:00",
            ["KvCache:Cluster:AskTimeout"] = "00:01:00",
        }));
        await using var client = cluster[0].Connect();
        var stored = Prefixes.New(Prefixes.Namespace("absent", KvLayout.Opaque(4096, 1)), 4);
        await client.MustStoreAsync(stored);
        var before = await ActivationsAsync(cluster);
        using (var peer = RawPeer.Authenticated(cluster[0].Tcp, "default", ""))
        {
            var handle = peer.Open(stored.Namespace);
            for (var frame = 0; frame < Frames; frame++)
            {
                Assert.Equal(0, Count(peer, FrameType.Pin, FrameType.PinReply, handle));
                Assert.Equal(0, Count(peer, FrameType.Delete, FrameType.DeleteReply, handle));
            }
        }

        var activations = await ActivationsAsync(cluster);
        Assert.True(activations - before < 1000, $"{activations - before} more activations");
        foreach (var silo in cluster.Living)
        {
            var metrics = await MetricsAsync(cluster[silo]);
            Assert.InRange(Metrics.Value(metrics, "kvcache_index_tombstones", ""), 0, Tombstones.MaxAbsent);
            Assert.Equal(0, Metrics.Value(metrics, "kvcache_store_pinned", ""));
        }

        // A key that is there is deleted everywhere, and told of by one silo.
        Assert.Equal(4, (await client.DeleteAsync(stored)).Deleted);
        await using var other = cluster[1].Connect();
        await Eventually.TrueAsync("the other silo has heard of it", async () => (await other.MatchAsync(stored)).Blocks == 0);
    }

    private static int Count(RawPeer peer, FrameType type, FrameType reply, uint handle)
    {
        var hashes = new BlockHash[Absent];
        for (var i = 0; i < hashes.Length; i++)
            hashes[i] = new BlockHash(RandomNumberGenerator.GetBytes(BlockHash.Size));
        peer.Send(type, writer =>
        {
            writer.UInt32(handle);
            if (type == FrameType.Pin)
                writer.UInt64(60_000);
            writer.UInt32(Absent);
            writer.Hashes(hashes);
        });
        peer.ExpectReply(reply, out var meta);
        Assert.Equal(Absent, BitConverter.ToInt32(meta));
        return meta.Skip(sizeof(int)).Count(outcome => outcome != (byte)ItemOutcome.Nothing);
    }

    private static async Task<string> MetricsAsync(SiloProcess silo)
    {
        using var http = new HttpClient();
        return await http.GetStringAsync($"{silo.Ready.Http}/metrics");
    }

    private static async Task<double> ActivationsAsync(SiloCluster cluster)
    {
        var sum = 0.0;
        foreach (var silo in cluster.Living)
        {
            var lines = (await MetricsAsync(cluster[silo])).Split('\n')
                .Where(line => line.StartsWith("orleans_catalog_activations{", StringComparison.Ordinal)).ToArray();
            Assert.NotEmpty(lines);
            sum += lines.Sum(line => Metrics.Value(line, "orleans_catalog_activations", ""));
        }

        return sum;
    }
}
