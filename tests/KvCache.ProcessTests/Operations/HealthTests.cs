using System.Net;
using System.Text.Json;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

public sealed class HealthTests
{
    [Fact]
    public async Task Health_readiness_and_metrics_answer_and_counters_move()
    {
        await using var silo = await SiloProcess.StartAsync();
        await using var client = silo.Connect();
        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        var ns = Prefixes.Namespace("metrics", KvLayout.Opaque(1 << 20, 1));
        var prefix = Prefixes.New(ns, 3);

        Assert.Equal("ok", await http.GetStringAsync("/healthz"));
        using var ready = JsonDocument.Parse(await http.GetStringAsync("/readyz"));
        Assert.True(ready.RootElement.GetProperty("ready").GetBoolean());
        Assert.Equal(
            silo.Ready.Endpoints, ready.RootElement.GetProperty("endpoints").EnumerateArray().Select(endpoint => endpoint.GetString()));
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync(new Uri("/nothing", UriKind.Relative))).StatusCode);

        await client.MustStoreAsync(prefix);
        await client.MustLoadAsync(prefix);
        await client.LoadAsync(Prefixes.New(ns, 1), 0, prefix.Memory(1));
        await client.DeleteAsync(prefix);

        var metrics = await http.GetStringAsync("/metrics");
        Report.Line(string.Join(
            '\n', metrics.Split('\n')
            .Where(line => line.StartsWith("kvcache", StringComparison.Ordinal) && !line.Contains("_bucket", StringComparison.Ordinal))));
        Assert.Equal(3, Metrics.Value(metrics, "kvcache_block_hits", ""));
        Assert.Equal(1, Metrics.Value(metrics, "kvcache_block_misses", "reason=\"absent\""));
        Assert.Equal(3, Metrics.Value(metrics, "kvcache_put_blocks", "outcome=\"Stored\""));
        Assert.Equal(3, Metrics.Value(metrics, "kvcache_store_removed", "reason=\"deleted\""));
        Assert.Equal(64 << 20, Metrics.Value(metrics, "kvcache_arena_capacity", ""));
        Assert.Equal(0, Metrics.Value(metrics, "kvcache_arena_used", ""));
        Assert.InRange(Metrics.Value(metrics, "kvcache_io_received", ""), 3 << 20, 4 << 20);
        Assert.InRange(Metrics.Value(metrics, "kvcache_io_sent", ""), 3 << 20, 4 << 20);
        Assert.Equal(1, Metrics.Value(metrics, "kvcache_request_duration_seconds_count", "type=\"put\""));
        Assert.Equal(2, Metrics.Value(metrics, "kvcache_request_duration_seconds_count", "type=\"get\""));
    }
}
