using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>A silo that others may have declared dead serves nothing; a deletion is confirmed when everybody has it.</summary>
[Trait("run", "kills")]
public sealed class CutOffTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("cut", KvLayout.Opaque([0, 4096], 16));

    [Fact]
    public async Task A_silo_that_hears_neither_the_other_one_nor_the_list_of_members_serves_and_confirms_nothing_until_it_does()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        var (prefix, doomed) = (Prefixes.New(Ns, 3), Prefixes.New(Ns, 3));
        await using (var client = silos.Connect(0))
        {
            await client.MustStoreAsync(prefix);
            await client.MustStoreAsync(doomed);
        }

        silos[1].Pause();
        redis.Freeze();
        await Eventually.TrueAsync("nothing is served", () => Task.FromResult(silos.BlocksAt(0, prefix) == 0));
        Assert.False((await silos.ReadinessAsync(0)).GetProperty("ready").GetBoolean());
        Assert.Equal([ItemOutcome.Unconfirmed], Delete(silos[0].Tcp, doomed).Distinct());

        redis.Thaw();
        silos[1].Resume();
        await Eventually.TrueAsync("what was not deleted is served again", () => Task.FromResult(silos.BlocksAt(0, prefix) == 3));
        Assert.Equal(0, silos.BlocksAt(0, doomed)); // the deletion went on
        await Eventually.TrueAsync(
            "deletions are confirmed", () => Task.FromResult(!Delete(silos[0].Tcp, prefix).Contains(ItemOutcome.Unconfirmed)));
    }

    [Fact]
    public async Task Silos_that_hear_each_other_go_on_while_only_Redis_is_away_and_say_that_deletions_are_not_confirmed()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis);
        var (prefix, doomed) = (Prefixes.New(Ns, 3), Prefixes.New(Ns, 3));
        await using var client = silos.Connect(0);
        await client.MustStoreAsync(prefix);
        await client.MustStoreAsync(doomed);
        redis.Freeze();
        await Eventually.TrueAsync("the silo has noticed", async () =>
            !(await silos.ReadinessAsync(0)).GetProperty("redis").GetProperty("available").GetBoolean()
            || await StoresPersistedAsync(client));
        Assert.Equal([ItemOutcome.Unconfirmed], Delete(silos[0].Tcp, doomed).Distinct());
        await client.MustLoadAsync(prefix);
        Assert.Equal((0, 0), (silos.BlocksAt(0, doomed), silos.BlocksAt(1, doomed)));

        await silos[1].KillAsync(); // nobody can declare it dead now; it was one of two
        await Eventually.TrueAsync(
            "the other one cannot know whether it was cut off", () => Task.FromResult(silos.BlocksAt(0, prefix) == 0));
        redis.Thaw();
        await Eventually.TrueAsync("the list of members is there again", () => Task.FromResult(silos.BlocksAt(0, prefix) == 3));
    }

    [Fact]
    public async Task A_silo_that_stood_still_until_it_was_declared_dead_serves_nothing_that_was_deleted_meanwhile()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);
        var prefix = Prefixes.New(Ns, 3);
        await using var client = silos.Connect(0);
        await using var frozen = silos.Connect(1);
        await frozen.MustStoreAsync(prefix);
        Assert.Equal(3, silos.BlocksAt(1, prefix));
        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(silos[1].Tcp)!, Ns.Tenant, "");
        Assert.Equal(3, Get(connection, prefix));

        silos[1].Pause();
        await Eventually.TrueAsync("it is declared dead", async () => await silos.MetricAsync(0, "kvcache_cluster_members") == 2
            && await silos.MetricAsync(2, "kvcache_cluster_members") == 2);
        Assert.DoesNotContain(ItemOutcome.Unconfirmed, Delete(silos[0].Tcp, prefix));
        silos[1].Resume();
        try
        {
            Assert.Equal(0, Get(connection, prefix));
        }
        catch (Exception e) when (e is System.Net.Sockets.SocketException or IOException or KvFormatException or SiloException)
        {
            // It has ended already: as good.
        }
    }

    [Fact]
    public async Task A_life_that_a_silo_with_a_copy_has_not_heard_of_is_not_confirmed()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis);
        var prefix = Prefixes.New(Ns, 3);
        await using var client = silos.Connect(0);
        await client.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Replicas: 2));
        await Eventually.TrueAsync("another silo has the blocks", () => silos.Copies(prefix) == 6);
        var other = silos.BlocksAt(1, prefix) == 3 ? 1 : 2;
        Assert.Equal(3, await client.ExpireAsync(prefix, TimeSpan.FromHours(1)));

        silos[other].Pause();

        Assert.Equal(0, await client.ExpireAsync(prefix, TimeSpan.FromSeconds(30)));
        silos[other].Resume();
        await Eventually.TrueAsync("it is, once that silo answers", async () => await client.ExpireAsync(prefix, TimeSpan.FromHours(1)) == 3);
    }

    private static int Get(BlockConnection connection, KvPrefix prefix)
    {
        var delivered = 0;
        connection.Get(
            prefix.Namespace, prefix.Chain.Hashes, prefix.Namespace.Layout.AllLayers, prefix.Memory(prefix.BlockCount), 0, localOnly: true,
            ref delivered);
        return delivered;
    }

    private static async Task<bool> StoresPersistedAsync(KvCache.Client.KvCacheClient client)
    {
        var prefix = Prefixes.New(Ns, 1);
        await client.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Durability: Durability.Persisted));
        return false;
    }

    private static ItemOutcome[] Delete(string endpoint, KvPrefix prefix)
    {
        using var peer = RawPeer.Authenticated(endpoint, prefix.Namespace.Tenant, "");
        var handle = peer.Open(prefix.Namespace);
        peer.Send(FrameType.Delete, writer =>
        {
            writer.UInt32(handle);
            writer.UInt32((uint)prefix.BlockCount);
            writer.Hashes(prefix.Chain.Hashes);
        });
        peer.ExpectReply(FrameType.DeleteReply, out var meta);
        return [.. meta[sizeof(uint)..].Select(outcome => (ItemOutcome)outcome)];
    }
}
