using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>The web sample as a user runs it, before a real silo and a collector.</summary>
[Collection(typeof(ContractSilo))]
public sealed class WebAppTests(ContractSilo silo)
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_web_sample_reuses_what_a_silo_has_and_tells_its_health_and_telemetry()
    {
        using var collector = new Collector();
        var lines = new ConcurrentQueue<string>();
        await using var program = ChildProcess.Start(
            ProgramCommand.Own(
                "KvCache.WebApp.dll", ["--urls", "http://127.0.0.1:0"],
                ("Cache__Silo__Endpoints__0", silo.Tcp), ("Cache__Silo__MatchTimeout", "00:01:00"), ("Cache__Memory", "1MiB"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_BSP_SCHEDULE_DELAY", "100")),
            lines.Enqueue, lines.Enqueue);
        const string Listening = "Now listening on: ";
        var line = await program.WaitUntilReadyAsync(
            () => lines.FirstOrDefault(line => line.Contains(Listening, StringComparison.Ordinal)), Eventually.Bound, Token);
        using var http = new HttpClient
        {
            BaseAddress = new Uri(line[(line.IndexOf(Listening, StringComparison.Ordinal) + Listening.Length)..]),
            Timeout = Eventually.Bound,
        };
        Assert.Equal("Healthy", await http.GetStringAsync("/health", Token));

        var start = new string('a', 40) + Guid.NewGuid().ToString("N"); // 72 bytes: four blocks and a half
        Assert.Equal((72, 0, 4), await AskAsync(http, start));
        Assert.Equal((80, 64, 1), await AskAsync(http, start + " goes on"));
        var metrics = await http.GetStringAsync("/metrics", Token);
        Assert.Equal(4, Metrics.Value(metrics, "kvcache_client_blocks", "operation=\"load\",kvcache_tier=\"local\""));
        Assert.Equal(5, Metrics.Value(metrics, "kvcache_client_blocks", "operation=\"store\",kvcache_tier=\"silo\""));
        Assert.Contains("hit", await http.GetStringAsync("/statistics", Token), StringComparison.Ordinal);
        await Eventually.TrueAsync(
            "spans have come", () => collector.HasReceived("kvcache store") && collector.HasReceived("POST /prompts"));
        Assert.True(await program.StopAsync(), "it was sent a signal to end, and did not");
    }

    private static async Task<(int Tokens, int CachedTokens, int StoredBlocks)> AskAsync(HttpClient http, string prompt)
    {
        using var answer = await http.PostAsync("/prompts", new StringContent(prompt), Token);
        var json = await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>(Token);
        Assert.Equal(JsonValueKind.Null, json.GetProperty("cacheError").ValueKind);
        int Number(string name) => json.GetProperty(name).GetInt32();
        return (Number("tokens"), Number("cachedTokens"), Number("storedBlocks"));
    }

    /// <summary>Takes what a program exports over OTLP, as bytes: names in it are readable.</summary>
    private sealed class Collector : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly ConcurrentQueue<string> _bodies = new();

        public Collector()
        {
            Address = $"http://127.0.0.1:{LoopbackPort.FindFree()}/";
            _listener.Prefixes.Add(Address);
            _listener.Start();
            _ = ReceiveAsync();
        }

        public string Address { get; }

        public bool HasReceived(string name) => _bodies.Any(body => body.Contains(name, StringComparison.Ordinal));

        public void Dispose() => _listener.Close();

        private async Task ReceiveAsync()
        {
            try
            {
                while (true)
                {
                    var context = await _listener.GetContextAsync();
                    using var reader = new StreamReader(context.Request.InputStream, Encoding.Latin1);
                    _bodies.Enqueue(await reader.ReadToEndAsync());
                    context.Response.Close();
                }
            }
            catch (Exception e) when (e is ObjectDisposedException or HttpListenerException)
            {
                // The test has ended.
            }
        }
    }
}
