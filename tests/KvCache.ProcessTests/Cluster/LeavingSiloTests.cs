using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Silos that are asked to end give what only they have to those that stay.</summary>
[Trait("run", "kills")]
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
            prefixes.AddRange(await StoreAsync(writer, 18));
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
                if (match.Reason is not (MissReason.None or MissReason.Absent))
                    failed++;
                await Task.Delay(2); // an engine computes between two matches
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
        await using var last = silos.Connect(0);
        var hits = await HitsAsync(last, prefixes);

        Report.Line($"{hits} of {prefixes.Count * Chain} blocks are hit after the restart; {failed} of {calls} calls failed.");
        Assert.InRange(hits, prefixes.Count * Chain * 95 / 100, prefixes.Count * Chain);
        Assert.Equal(0, failed);
    }

    [Fact]
    public async Task A_silo_that_alone_stays_takes_what_it_has_free_memory_for_and_loses_nothing_of_its_own()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis, new SiloSettings(Arena: "64MiB"));
        await using var stays = silos.Connect(0);
        await using var leaves = silos.Connect(1);
        var own = await StoreAsync(stays, 20);
        var others = await StoreAsync(leaves, 20);

        Assert.Equal(0, await silos[1].StopAsync());

        Assert.Equal(20 * Chain, await HitsAsync(stays, own));
        var taken = await HitsAsync(stays, others);
        Report.Line($"{taken} of {20 * Chain} blocks were taken.");
        Assert.InRange(taken, 8 * Chain, 12 * Chain); // 64 MiB are 32 chains
    }

    [Fact]
    public async Task Clients_hear_of_a_silo_that_leaves_while_it_still_serves()
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(2, redis, new SiloSettings(Arena: "64MiB"));
        await using var client = silos.ConnectEverywhere(TimeSpan.FromSeconds(30), 1).Single();
        var kept = (await StoreAsync(client, 1))[0];
        Assert.Equal(Chain, silos.BlocksAt(0, kept));

        // Very many small ones, which take some time to be handed over.
        var small = Prefixes.New(Prefixes.Namespace("small", KvLayout.Opaque(4096, 1)), 10_000);
        await client.StoreAsync(small, 0, small.Blocks());
        silos[0].Terminate();
        await Eventually.TrueAsync("what is stored goes to another silo, before this one has ended", async () =>
        {
            await StoreAsync(client, 1);
            return (await client.GetStatisticsAsync()).Silos.Any(silo => silo.Endpoint == silos[1].Tcp && silo.StoredBlocks > 0)
                || silos[0].HasExited;
        });
        Assert.False(silos[0].HasExited);
        Assert.Equal(Chain, await HitsAsync(client, [kept]));
        Assert.Equal(0, await silos[0].StopAsync());
        Assert.Equal(Chain, await HitsAsync(client, [kept]));
    }

    [Fact]
    public async Task The_administrator_can_end_a_silo_over_http_and_nobody_else()
    {
        const string Token = "the administrator's token";
        var folder = Directory.CreateTempSubdirectory("kvcache-leave-");
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Settings: new Dictionary<string, string>
        {
            ["KvCache:Accounts:AdminToken"] = Token,
            ["KvCache:Accounts:File"] = Path.Combine(folder.FullName, "tenants.json"),
        }));
        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        var leave = new Uri("/admin/leave", UriKind.Relative);
        using var refused = await http.PostAsync(leave, null);
        Assert.Equal(System.Net.HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.False(silo.HasExited);

        http.DefaultRequestHeaders.Authorization = new System.Net.Http.Headers.AuthenticationHeaderValue("Bearer", Token);
        using var accepted = await http.PostAsync(leave, null);

        Assert.Equal(System.Net.HttpStatusCode.Accepted, accepted.StatusCode);
        Assert.Equal(0, await silo.StopAsync());
        folder.Delete(recursive: true);
    }

    private static async Task<List<KvPrefix>> StoreAsync(KvCacheClient client, int chains)
    {
        var prefixes = Enumerable.Range(0, chains).Select(_ => Prefixes.New(Ns, Chain)).ToList();
        foreach (var prefix in prefixes)
            await client.MustStoreAsync(prefix);
        return prefixes;
    }

    private static async Task<int> HitsAsync(KvCacheClient client, List<KvPrefix> prefixes)
    {
        var hits = 0;
        foreach (var prefix in prefixes)
            hits += (await client.LoadAsync(prefix, 0, prefix.Memory(Chain))).Blocks;
        return hits;
    }
}
