using System.Text.Json;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>What a silo shows of its forgetting.</summary>
public sealed class EvictionSeenTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("seen", KvLayout.Create(1, 1, 128, KvDataType.Float16, 128));

    [Fact]
    public async Task What_would_have_been_hit_is_in_the_statistics_and_in_the_metrics()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "4MiB"));
        await using var cache = silo.Connect();
        var prefixes = Enumerable.Range(0, 96).Select(_ => Prefixes.New(Ns, 1)).ToList(); // 64 fit
        for (var turn = 0; turn < 3; turn++)
        {
            foreach (var prefix in prefixes)
            {
                if ((await cache.LoadAsync(prefix, 0, prefix.Memory(1))).Blocks == 0)
                    await cache.StoreAsync(prefix, 0, prefix.Blocks());
            }
        }

        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http), Timeout = Eventually.Bound };
        using var stats = JsonDocument.Parse(await http.GetStringAsync("/v1/stats"));
        var seen = stats.RootElement.GetProperty("eviction");
        Assert.True(seen.GetProperty("wantedAgain").GetInt64() > 0);
        var memory = seen.GetProperty("memory").EnumerateArray()
            .ToDictionary(item => item.GetProperty("times").GetDouble(), item => item.GetProperty("hitRatio").GetDouble());
        Assert.True(memory[2] > memory[1] + 0.3, $"{memory[2]} {memory[1]}");
        Assert.True(seen.GetProperty("evictionAge").GetProperty("p50").GetDouble() > 0);
        Assert.Contains("end not told", seen.GetProperty("classes")[0].GetProperty("what").GetString());

        var metrics = await http.GetStringAsync("/metrics");
        foreach (var name in new[]
        {
            "kvcache_store_wanted_", "kvcache_store_eviction_age_seconds", "kvcache_store_memory_hit_ratio", "times=\"2\"",
        })
            Assert.Contains(name, metrics);
    }
}
