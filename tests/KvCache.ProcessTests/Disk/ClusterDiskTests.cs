using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Disks in a cluster: others find and read what lies on them, and what was deleted while a silo was away stays deleted.</summary>
[Trait("run", "kills")]
public sealed class ClusterDiskTests : IDisposable
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("disks", KvLayout.Create(2, 2, 64, KvDataType.Float16, 64)); // 64 KiB

    private readonly string _folder = Directory.CreateTempSubdirectory("kvcache-disks-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task What_was_deleted_while_a_silo_was_away_is_not_on_its_disk_and_the_rest_is_read_by_others()
    {
        using var redis = RedisProcess.Start();
        await using var cluster = await SiloCluster.StartAsync(2, redis, Settings);
        await using var other = cluster.Connect(0);
        KvPrefix kept = Prefixes.New(Ns, 4), gone = Prefixes.New(Ns, 4);
        await using (var client = cluster.Connect(1))
        {
            await client.MustStoreAsync(kept);
            await client.MustStoreAsync(gone);
            await Eventually.TrueAsync("the other one knows of them", () => Task.FromResult(
                cluster.BlocksAt(0, kept) == 0 && cluster.BlocksAt(1, kept) == 4));
        }

        Assert.Equal(0, await cluster[1].StopAsync());
        Assert.Equal(0, (await other.MatchAsync(kept)).Blocks);
        await other.DeleteAsync(gone);

        await cluster.StartAsync(1);
        await cluster.AllSeeAllAsync();
        await Eventually.TrueAsync("the disk can be read", async () =>
            (await cluster[1].SiloAsync()).GetProperty("disk").GetProperty("isTrusted").GetBoolean());
        await Eventually.TrueAsync("the other one knows of it", async () => (await other.MatchAsync(kept)).Blocks == 4);
        await other.MustLoadAsync(kept);
        Assert.Equal(0, (await other.MatchAsync(gone)).Blocks);
        Assert.Equal(0, cluster.BlocksAt(1, gone));
        cluster.AssertHealthy();
    }

    [Fact]
    public async Task Where_nobody_was_there_all_the_while_a_disk_is_dropped()
    {
        using var redis = RedisProcess.Start();
        await using var cluster = await SiloCluster.StartAsync(2, redis, Settings);
        var prefix = Prefixes.New(Ns, 4);
        await using (var client = cluster.Connect(1))
            await client.MustStoreAsync(prefix);
        Assert.Equal(0, await cluster[1].StopAsync());
        await cluster[0].KillAsync();

        await cluster.StartAsync(1);
        await Eventually.TrueAsync("it was decided", async () =>
            (await cluster[1].SiloAsync()).GetProperty("disk").GetProperty("isTrusted").GetBoolean());
        Assert.Equal(0, cluster.BlocksAt(1, prefix));
        Assert.Equal(0, (await cluster[1].SiloAsync()).GetProperty("disk").GetProperty("segments").GetInt32());
    }

    // Without a hand-over: what a silo alone has goes to its disk.
    private SiloSettings Settings => new(
        Arena: "4MiB", UseUnix: false, Arguments: ["--disk", _folder + "/{silo}", "--disk-size", "64MiB"],
        Settings: new Dictionary<string, string>
        {
            ["KvCache:Disk:SegmentSize"] = "1MiB",
            ["KvCache:Disk:TrustTimeout"] = "5s",
            ["KvCache:Cluster:HandOverTimeout"] = "0s",
        });
}
