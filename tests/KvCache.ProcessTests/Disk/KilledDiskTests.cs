using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What is on a silo's disk comes back behind a kill, right or not at all; what was deleted never does.</summary>
[Trait("run", "kills")]
public sealed class KilledDiskTests : IDisposable
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("on disk", KvLayout.Create(2, 2, 64, KvDataType.Float16, 64)); // 64 KiB

    private readonly string _folder = Directory.CreateTempSubdirectory("kvcache-disk-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public Task Kills_under_load_and_damage_in_between_never_give_wrong_bytes_nor_deleted_blocks() => KillAsync(rounds: 3, seed: 1);

    [Fact]
    [Trait("run", "long")]
    public Task Fifty_kills_never_give_wrong_bytes_nor_deleted_blocks() => KillAsync(rounds: 50, seed: 2);

    [Fact]
    public async Task A_silo_that_ends_in_order_has_everything_when_it_comes_back()
    {
        var prefixes = Enumerable.Range(0, 40).Select(_ => Prefixes.New(Ns, 4)).ToList(); // twice and a half the memory
        await using (var silo = await SiloProcess.StartAsync(Settings()))
        {
            await using var client = silo.Connect();
            foreach (var prefix in prefixes)
            {
                await client.MustStoreAsync(prefix);
                await silo.KeepUpAsync();
            }

            Assert.Equal(0, await silo.StopAsync());
        }

        await using var again = await SiloProcess.StartAsync(Settings());
        await using var reader = again.Connect();
        await Eventually.TrueAsync("the disk can be read", async () => (await again.DiskAsync()).GetProperty("isTrusted").GetBoolean());
        foreach (var prefix in prefixes)
        {
            Assert.Equal(4, (await reader.MatchAsync(prefix)).Blocks);
            await reader.MustLoadAsync(prefix);
        }

        var disk = await again.DiskAsync();
        Assert.InRange(disk.GetProperty("readBlocks").GetInt64(), 160, 320);
        var metrics = await MetricsAsync(again);
        Assert.True(Metrics.Value(metrics, "kvcache_disk_blocks", "") >= 160);
        Assert.True(Metrics.Value(metrics, "kvcache_disk_promote_blocks_total", "outcome=\"Promoted\"") >= 160);
        again.AssertHealthy();
    }

    [Fact]
    public async Task A_match_that_holds_brings_what_is_on_the_disk_into_memory()
    {
        var prefix = Prefixes.New(Ns, 16);
        await using (var silo = await SiloProcess.StartAsync(Settings()))
        {
            await using var client = silo.Connect();
            await client.MustStoreAsync(prefix);
            await silo.StopAsync();
        }

        await using var again = await SiloProcess.StartAsync(Settings());
        await using var reader = again.Connect();
        await Eventually.TrueAsync("the disk can be read", async () => (await reader.MatchAsync(prefix)).Blocks == 16);
        Assert.Equal(0, await again.StoreCounterAsync("blocks"));
        await using var match = await reader.MatchAsync(prefix, TimeSpan.FromSeconds(10));
        Assert.Equal(16, match.Blocks);
        await Eventually.TrueAsync("all is in memory", async () => await again.StoreCounterAsync("blocks") == 16);
        await reader.MustLoadAsync(prefix);
        var ahead = Metrics.Value(await MetricsAsync(again), "kvcache_disk_ahead_blocks_total", "used=\"true\"");
        Assert.Equal(16, ahead);
    }

    private async Task KillAsync(int rounds, int seed)
    {
        var random = new Random(seed);
        var (stored, deleted) = (new List<KvPrefix>(), new List<KvPrefix>());
        var (right, missing) = (0, 0);
        for (var round = 0; round < rounds; round++)
        {
            await using var silo = await SiloProcess.StartAsync(Settings());
            await using var client = silo.Connect();
            await Eventually.TrueAsync("the disk can be read", async () => (await silo.DiskAsync()).GetProperty("isTrusted").GetBoolean());
            foreach (var prefix in deleted)
                Assert.Equal(0, (await client.MatchAsync(prefix)).Blocks);
            foreach (var prefix in stored)
                _ = await client.LoadsAsync(prefix) ? right++ : missing++; // and compares every byte
            if (round > 0)
                Assert.True(right > 0, "Nothing came back.");
            silo.AssertHealthy();

            for (var i = 0; i < 60; i++)
            {
                var prefix = Prefixes.New(Ns, 4);
                await client.MustStoreAsync(prefix);
                stored.Add(prefix);
                await silo.KeepUpAsync();
                if (random.Next(4) != 0)
                    continue;
                var victim = stored[random.Next(stored.Count)];
                if (await client.DeleteAsync(victim) is { IsConfirmed: false })
                    continue;
                stored.Remove(victim);
                deleted.Add(victim);
            }

            var storing = StoreUntilItFailsAsync(client);
            await silo.KillAsync();
            await storing;
            Damage(random);
        }

        Report.Line($"{rounds} kills: {right} prefixes came back, {missing} were missing, {deleted.Count} deleted ones stayed away.");
    }

    private static async Task StoreUntilItFailsAsync(KvCacheClient client)
    {
        for (var i = 0; i < 1000; i++)
        {
            var prefix = Prefixes.New(Ns, 4);
            if ((await client.StoreAsync(prefix, 0, prefix.Blocks())).Stored == 0)
                return;
        }
    }

    private void Damage(Random random)
    {
        foreach (var path in Directory.GetFiles(_folder).Where(path => path.EndsWith(".segment", StringComparison.Ordinal)
            || path.EndsWith(".changes", StringComparison.Ordinal)).Order())
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
            switch (random.Next(8))
            {
                case 0 when file.Length > 0:
                    file.Position = random.NextInt64(file.Length);
                    var value = file.ReadByte();
                    file.Position--;
                    file.WriteByte((byte)(value ^ (1 << random.Next(8))));
                    break;
                case 1:
                    file.SetLength(random.NextInt64(file.Length + 1));
                    break;
            }
        }

        var segments = Directory.GetFiles(_folder, "*.segment").Order().ToArray();
        if (segments.Length < 3)
            return;
        var (one, other) = (segments[random.Next(segments.Length)], segments[random.Next(segments.Length)]);
        File.Move(one, one + ".x");
        if (one != other)
            File.Move(other, one);
        File.Move(one + ".x", other);
    }

    private static async Task<string> MetricsAsync(SiloProcess silo)
    {
        using var http = new HttpClient();
        return await http.GetStringAsync($"{silo.Ready.Http}/metrics");
    }

    private SiloSettings Settings() => new(
        Arena: "4MiB", UseUnix: false, Arguments: ["--disk", _folder, "--disk-size", "64MiB"],
        Settings: new Dictionary<string, string> { ["KvCache:Disk:SegmentSize"] = "1MiB" });
}
