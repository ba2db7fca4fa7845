using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>A disk that is full, takes no new files, stands still or is gone costs what is on it, and no call of an engine.</summary>
[Trait("run", "kills")]
public sealed class FailingDiskTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("failing", KvLayout.Create(2, 2, 64, KvDataType.Float16, 64)); // 64 KiB

    [Fact]
    public async Task Engines_go_on_whatever_the_disk_does()
    {
        await using var disk = await MountedDisk.CreateAsync();
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(
            Arena: "4MiB", UseUnix: false, Arguments: ["--disk", disk.Folder, "--disk-size", "32MiB"],
            Settings: new Dictionary<string, string>
            {
                ["KvCache:Disk:SegmentSize"] = "1MiB",
                ["KvCache:Disk:BreakerDelay"] = "100ms",
            }));
        await using var client = silo.Connect();
        await GoesOnAsync(client, silo);
        Assert.True(await BytesWrittenAsync(silo) > 0);

        var filler = disk.Fill();
        await UntilLeftAloneAsync(client, silo, "No space left");
        File.Delete(filler);
        await UntilWrittenAgainAsync(client, silo);

        await MountedDisk.RunAsync("chattr", "+i", disk.Folder);
        await UntilLeftAloneAsync(client, silo, "Operation not permitted");
        await MountedDisk.RunAsync("chattr", "-i", disk.Folder);
        await UntilWrittenAgainAsync(client, silo);

        var onDisk = await StoredAsync(client, silo); // most of it in segments that are complete
        await MountedDisk.RunAsync("fsfreeze", "-f", disk.Mount);
        try
        {
            await GoesOnAsync(client, silo);
            var confirmed = 0;
            foreach (var prefix in onDisk)
            {
                confirmed += (await client.DeleteAsync(prefix)).IsConfirmed ? 1 : 0;
                Assert.Equal(0, (await client.MatchAsync(prefix)).Blocks);
            }

            Assert.True(confirmed < onDisk.Count, "A kill now would bring blocks back whose deletion was confirmed.");
        }
        finally
        {
            await MountedDisk.RunAsync("fsfreeze", "-u", disk.Mount);
        }

        await UntilWrittenAgainAsync(client, silo);
        foreach (var prefix in await StoredAsync(client, silo))
            Assert.True((await client.DeleteAsync(prefix)).IsConfirmed);

        await MountedDisk.RunAsync("umount", "-l", disk.Mount);
        await UntilLeftAloneAsync(client, silo, "No such file");
        await GoesOnAsync(client, silo);
        silo.AssertHealthy();
        var lines = silo.Log.Split('\n').Count(line => line.Contains("is left alone", StringComparison.Ordinal));
        Assert.InRange(lines, 1, 2); // one a minute
    }

    // More than the memory has room for. What was stored a moment ago is there, and has the right bytes; but for what was on its way to the
    // disk when that failed.
    private static async Task GoesOnAsync(KvCacheClient client, SiloProcess silo)
    {
        var hits = 0;
        for (var i = 0; i < 20; i++)
        {
            var prefix = Prefixes.New(Ns, 4);
            await client.MustStoreAsync(prefix);
            hits += await client.LoadsAsync(prefix) ? 1 : 0;
        }

        Assert.True(hits >= 10, $"{hits} of 20 prefixes were there.");
        Assert.False(silo.HasExited);
    }

    private static async Task<List<KvPrefix>> StoredAsync(KvCacheClient client, SiloProcess silo)
    {
        var prefixes = Enumerable.Range(0, 32).Select(_ => Prefixes.New(Ns, 4)).ToList(); // twice the memory
        foreach (var prefix in prefixes)
        {
            await client.MustStoreAsync(prefix);
            await silo.KeepUpAsync();
        }

        return prefixes;
    }

    private static Task<TimeSpan> UntilLeftAloneAsync(KvCacheClient client, SiloProcess silo, string why) =>
        Eventually.TrueAsync($"the disk is left alone ({why})", async () =>
        {
            await GoesOnAsync(client, silo);
            var disk = await silo.DiskAsync();
            return disk.GetProperty("isLeftAlone").GetBoolean()
                && disk.GetProperty("lastError").GetString()!.Contains(why, StringComparison.Ordinal);
        });

    private static async Task UntilWrittenAgainAsync(KvCacheClient client, SiloProcess silo)
    {
        var written = await BytesWrittenAsync(silo);
        await Eventually.TrueAsync("the disk is written again", async () =>
        {
            await GoesOnAsync(client, silo);
            return await BytesWrittenAsync(silo) > written;
        });
    }

    private static async Task<long> BytesWrittenAsync(SiloProcess silo) => (await silo.DiskAsync()).GetProperty("writtenBytes").GetInt64();
}
