using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Silos that are asked to end give what only they have to those that stay.</summary>
[Collection(typeof(Apart))]
public sealed class LeavingSiloTests
{
    private const int BlockBytes = 256 << 10;
    private const int Chain = 8;
    private static readonly CacheNamespace Ns = Prefixes.Namespace("leaving", KvLayout.Opaque(BlockBytes, 1));

    [Fact]
    public async Task A_rolling_restart_of_three_silos_costs_hardly_a_hit_and_no_call()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis, new SiloSettings(Arena: "64MiB"));
        var prefixes = new List<KvPrefix>();
        for (var silo = 0; silo < 3; silo++)
        {
            // 18 chains of 2 MiB: more than half of each arena.
            await using var writer = silos.Connect(silo);
            for (var i = 0; i < 18; i++)
            {
                prefixes.Add(Prefixes.New(Ns, Chain));
                await writer.MustStoreAsync(prefixes[^1]);
            }
        }

        using var done = new CancellationTokenSource();
        await using var reader = silos.ConnectEverywhere(TimeSpan.FromSeconds(30), 1).Single();
        var failed = 0;
        var calls = 0;
        var load = Task.Run(async () =>
        {
            for (var i = 0; !done.IsCancellationRequested; i = (i + 1) % prefixes.Count)
            {
                var match = await reader.MatchAsync(prefixes[i]);
                calls++;
                if (match.Reason is not (MissReason.None or MissReason.NotFound))
                    failed++;
            }
        });

        for (var silo = 0; silo < 3; silo++)
        {
            Assert.Equal(0, await silos[silo].StopAsync());
            Assert.Contains("blocks were handed over within", silos[silo].Log, StringComparison.Ordinal);
            await silos.StartAsync(silo);
            await silos.AllSeeAllAsync();
        }

        await done.CancelAsync();
        await load;
        var hits = 0;
        await using var last = silos.Connect(0);
        foreach (var prefix in prefixes)
        {
            var memory = prefix.Memory(Chain);
            hits += (await last.LoadAsync(prefix, 0, memory)).Blocks;
        }

        Report.Line($"{hits} of {prefixes.Count * Chain} blocks are hit after the restart; {failed} of {calls} calls failed.");
        Assert.InRange(hits, prefixes.Count * Chain * 95 / 100, prefixes.Count * Chain);
        Assert.Equal(0, failed);
    }
}
