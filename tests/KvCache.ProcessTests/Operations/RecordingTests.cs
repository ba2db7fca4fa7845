using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A silo writes down its load for whoever administers it.</summary>
public sealed class RecordingTests : IDisposable
{
    private const string Token = "the administrator's token", Scraper = "a token that only looks";
    private static readonly CacheNamespace Ns = Prefixes.Namespace("recorded", KvLayout.Opaque(16 << 10, 16));

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-recording-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task The_administrator_gets_requests_with_their_hints_and_without_names()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "32MiB", Settings: new Dictionary<string, string>
        {
            ["KvCache:Accounts:AdminToken"] = Token,
            ["KvCache:Accounts:ScrapeToken"] = Scraper,
            ["KvCache:Accounts:File"] = Path.Combine(_folder.FullName, "tenants.json"),
        }));
        using var admin = Http(silo, Token);
        using var scraper = Http(silo, Scraper);
        Assert.Equal(HttpStatusCode.Unauthorized, (await scraper.PostAsync("/admin/record?seconds=1", null)).StatusCode);
        foreach (var wrong in new[] { "?seconds=0", "?seconds=-1", "?seconds=100000000", "?second=1" })
            Assert.Equal(HttpStatusCode.BadRequest, (await admin.PostAsync("/admin/record" + wrong, null)).StatusCode);

        using var request = new HttpRequestMessage(HttpMethod.Post, "/admin/record?seconds=8");
        using var response = await admin.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        using (var second = await admin.PostAsync("/admin/record?seconds=1", null))
            Assert.Equal(HttpStatusCode.ServiceUnavailable, second.StatusCode);

        await using var cache = silo.Connect();
        KvPrefix long_ = Prefixes.New(Ns, 6), short_ = Prefixes.New(Ns, 2);
        await cache.MustStoreAsync(long_);
        await cache.HintAsync(long_, new CacheHint { End = AnswerEnd.ToolCall, Priority = 70, Retention = TimeSpan.FromMinutes(5) });
        await cache.MustStoreAsync(short_);
        await cache.HintAsync(short_, new CacheHint { End = AnswerEnd.OneShot, Kind = TokenKind.Document });
        await cache.MustLoadAsync(long_);

        var lines = await LinesAsync(response);
        Assert.Equal(3, lines.Count);
        Assert.Equal(
            ["0,1,2,3,4,5", "6,7", "0,1,2,3,4,5"],
            lines.Select(line => string.Join(',', line["hash_ids"]!.AsArray().Select(id => id!.GetValue<int>()))));
        Assert.Equal([96, 32, 96], lines.Select(line => line["input_length"]!.GetValue<int>()));
        Assert.All(lines, line => Assert.Equal(16, line["block_tokens"]!.GetValue<int>()));
        Assert.Equal(["tool_call", "one_shot", null], lines.Select(line => line["end"]?.GetValue<string>()));
        Assert.Equal((70, 300.0), (lines[0]["priority"]!.GetValue<int>(), lines[0]["retention"]!.GetValue<double>()));
        Assert.Equal("document", lines[1]["kind"]!.GetValue<string>());
        var text = string.Concat(lines.Select(line => line.ToJsonString()));
        Assert.DoesNotContain("recorded", text);
        Assert.DoesNotContain(long_.Chain.Hashes[0].ToString(), text);
        await Eventually.TrueAsync("its end is told", () => Task.FromResult(silo.Log.Contains("A recording of 3 requests", StringComparison.Ordinal)));

        // And another one may begin.
        using var again = await admin.PostAsync("/admin/record?seconds=0.1", null);
        Assert.Empty(await LinesAsync(again));
        silo.AssertHealthy();
    }

    private static HttpClient Http(SiloProcess silo, string token) => new()
    {
        BaseAddress = new Uri(silo.Ready.Http),
        Timeout = Eventually.Bound,
        DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", token) },
    };

    private static async Task<List<JsonNode>> LinesAsync(HttpResponseMessage response)
    {
        Assert.Equal("application/gzip", response.Content.Headers.ContentType?.MediaType);
        await using var zip = new GZipStream(await response.Content.ReadAsStreamAsync(), CompressionMode.Decompress);
        using var reader = new StreamReader(zip);
        var lines = new List<JsonNode>();
        while (await reader.ReadLineAsync() is { } line)
            lines.Add(JsonNode.Parse(line)!);
        return lines;
    }
}
