using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using KvCache.Checksums;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What is wrong is told, and leaves nothing behind.</summary>
public sealed class HttpProblemTests(HttpProblemTests.Silo shared) : IClassFixture<HttpProblemTests.Silo>, IAsyncLifetime
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("http problems", KvLayout.Create(4, 2, 16, KvDataType.Float16, 16));

    private readonly KvPrefix _prefix = Prefixes.New(Ns, 1);
    private readonly HttpSilo _http = shared.Http;
    private string _path = null!;

    public async ValueTask InitializeAsync() => _path = HttpSilo.Path(await _http.RegisterAsync(Ns), _prefix.Chain.Hashes[0]);

    public async ValueTask DisposeAsync()
    {
        using var deleted = await _http.Client.DeleteAsync(_path);
        Assert.True(deleted.StatusCode is HttpStatusCode.NoContent or HttpStatusCode.NotFound,
            $"Deleting what the test may have stored: {deleted.StatusCode}");
        shared.Process.AssertHealthy();
    }

    [Theory]
    [InlineData("/v1/nothing", 404, "There is nothing at /v1/nothing")]
    [InlineData("/v1/match", 405, "GET is not a method of /v1/match")]
    [InlineData("/v1/blocks/zz!/00", 400, "is no namespace")]
    [InlineData("/v1/blocks/00112233445566778899aabbccddeeff/00", 404, "Register it with POST /v1/namespaces")]
    [InlineData("{path}x", 400, "64 hexadecimal digits were expected")]
    [InlineData("{path}", 404, "Compute it, and store it with PUT")]
    [InlineData("{path}?frist=1", 400, "'frist' is not read; perhaps 'first' was meant")]
    [InlineData("/v1/stats?tenant=acme", 400, "'tenant' is not read; this request has none")]
    [InlineData("{path}?first=4", 400, "do not lie in a block of 4 layers")]
    [InlineData("{path}?first=2147483647&layers=2147483647", 400, "do not lie in a block of 4 layers")]
    [InlineData("{path}?layers=x", 400, "cannot be understood")]
    public async Task A_get_that_fails_says_why(string path, int status, string detail)
    {
        using var response = await _http.Client.GetAsync(path.Replace("{path}", _path, StringComparison.Ordinal));
        Assert.Contains(detail, await HttpSilo.ProblemAsync(response, status), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/v1/namespaces", """{"model":"m"}""", 400, "'model' or 'layout' is missing")]
    [InlineData("/v1/namespaces", """{"model":"m","layout":{"layers":1,"kvHeads":1,"headDim":1,"dataType":"float17"}}""", 400,
        "one of Float32")]
    [InlineData("/v1/namespaces", """{"model":"m","layout":{"layers":0,"kvHeads":1,"headDim":1,"dataType":"float16"}}""", 400,
        "Expected layers between 1 and")]
    [InlineData("/v1/namespaces", """{"model":"m","layout":{"layerBytes":[5,-5]}}""", 400, "Layer offsets ascend")]
    [InlineData("/v1/namespaces", """{"modl":"m"}""", 400, "$.modl")]
    [InlineData("/v1/namespaces", """{"encoding":"AAAA"}""", 400, "tag 1")]
    [InlineData("/v1/namespaces", """{"model":"m","tenant":"other","layout":{"layers":1,"kvHeads":1,"headDim":1,"dataType":"float16"}}""",
        403, "another tenant")]
    [InlineData("/v1/namespaces", "nonsense", 400, "cannot be understood")]
    [InlineData("/v1/match", """{"namespaces":[],"hashes":[]}""", 400, "1 to 1024 namespaces")]
    [InlineData("/v1/match", """{"hashes":[]}""", 400, "cannot be understood")]
    [InlineData("/v1/match", """{"namespaces":["{ns}"]}""", 400, "Either 'tokens' or 'hashes'")]
    [InlineData("/v1/match", """{"namespaces":["{ns}"],"hashes":["00"]}""", 400, "64 hexadecimal digits")]
    [InlineData("/v1/locate", """{"namespace":"{ns}","tokens":[]}""", 400, "The prompt is empty")]
    [InlineData("/v1/locate", """{"namespace":"{ns}","tokens":[1],"weights":{"redis":2}}""", 400, "outside of 0 to 1")]
    [InlineData("/v1/pin", """{"namespace":"{ns}","hashes":[],"seconds":-1}""", 400, "0 (which ends it) or more")]
    [InlineData("/v1/expire", """{"namespace":"{ns}","hashes":[],"seconds":0}""", 400, "more than 0 was expected")]
    public async Task A_post_that_fails_says_why(string path, string body, int status, string detail)
    {
        using var content =
            new StringContent(body.Replace("{ns}", Ns.Id.ToString(), StringComparison.Ordinal), Encoding.UTF8, "application/json");
        using var response = await _http.Client.PostAsync(path, content);
        Assert.Contains(detail, await HttpSilo.ProblemAsync(response, status), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_body_that_is_too_long_or_no_json_is_told()
    {
        using var large = await _http.PostAsync("/v1/pin", new JsonObject { ["namespace"] = new string('x', 8192) });
        await HttpSilo.ProblemAsync(large, 413, "body-too-large");
        using var text = await _http.Client.PostAsync("/v1/pin", new StringContent("x"));
        Assert.Contains("application/json", await HttpSilo.ProblemAsync(text, 415), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("?ttl=0", "more than 0 was expected")]
    [InlineData("?copies=17", "1 to 16 were expected")]
    [InlineData("?depth=-1", "0 or more was expected")]
    [InlineData("?parent=00", "64 hexadecimal digits")]
    public async Task A_put_with_terms_that_cannot_be_met_stores_nothing(string query, string detail)
    {
        using var response = await _http.PutAsync(_path + query, Content.Of(_prefix, 0));
        Assert.Contains(detail, await HttpSilo.ProblemAsync(response, 400), StringComparison.Ordinal);
        await AssertNothingStoredAsync();
    }

    [Theory]
    [InlineData(-1, false)]
    [InlineData(1, false)]
    [InlineData(-1, true)]
    [InlineData(1, true)]
    public async Task A_block_of_another_size_than_its_layout_is_not_stored(int difference, bool chunked)
    {
        using var request =
            new HttpRequestMessage(HttpMethod.Put, _path) { Content = new ByteArrayContent(new byte[Ns.Layout.BlockBytes + difference]) };
        request.Headers.TransferEncodingChunked = chunked;
        using var response = await _http.Client.SendAsync(request);
        await HttpSilo.ProblemAsync(response, 400, "wrong-length");
        await AssertNothingStoredAsync();
    }

    [Fact]
    public async Task A_put_with_the_right_checksums_is_stored_and_one_with_wrong_ones_is_not()
    {
        var block = Content.Of(_prefix, 0);
        var checksums = new uint[Ns.Layout.Layers];
        BlockChecksum.ComputeLayers(block, Ns.Layout, checksums);
        using (var wrong = await PutAsync(string.Join(',', checksums.Select(checksum => $"{checksum ^ 1:x8}"))))
            await HttpSilo.ProblemAsync(wrong, 422, "wrong-checksum");
        await AssertNothingStoredAsync();
        using (var few = await PutAsync("00000000,00000000"))
            Assert.Contains("CRC-32 of 4 layers", await HttpSilo.ProblemAsync(few, 400), StringComparison.Ordinal);
        using (var right = await PutAsync(string.Join(',', checksums.Select(checksum => $"{checksum:x8}"))))
            Assert.Equal(HttpStatusCode.Created, right.StatusCode);

        async Task<HttpResponseMessage> PutAsync(string header)
        {
            using var request = new HttpRequestMessage(HttpMethod.Put, _path) { Content = new ByteArrayContent(block) };
            request.Headers.Add("KvCache-Checksums", header);
            return await _http.Client.SendAsync(request);
        }
    }

    [Fact]
    public async Task A_put_that_breaks_off_is_never_visible()
    {
        for (var i = 0; i < 8; i++)
        {
            using var peer = await BeginPutAsync(Ns.Layout.BlockBytes / 2);
            await AssertNotVisibleAsync();
        }

        await AssertNothingStoredAsync();
        using var whole = await _http.PutAsync(_path, Content.Of(_prefix, 0));
        Assert.Equal(HttpStatusCode.Created, whole.StatusCode);
    }

    [Fact]
    public async Task More_requests_than_the_limit_are_told_to_come_back_and_health_still_answers()
    {
        var hanging = new List<TcpClient>();
        await Eventually.TrueAsync("the silo is busy", async () =>
        {
            using var response = await _http.Client.GetAsync("/v1/stats");
            if (response.StatusCode != HttpStatusCode.ServiceUnavailable)
            {
                hanging.Add(await BeginPutAsync(1)); // one of them may itself have come when the silo was busy
                return false;
            }

            await HttpSilo.ProblemAsync(response, 503, "busy");
            Assert.Equal(TimeSpan.FromSeconds(1), response.Headers.RetryAfter!.Delta);
            return true;
        });
        Assert.Equal("ok", await _http.Client.GetStringAsync("/healthz"));
        hanging.ForEach(peer => peer.Close());
        await Eventually.TrueAsync("the silo is not busy any more", async () =>
        {
            using var response = await _http.Client.GetAsync("/v1/stats");
            return response.IsSuccessStatusCode;
        });
    }

    // A put of which only the front part arrives.
    private async Task<TcpClient> BeginPutAsync(int bytes)
    {
        var address = _http.Client.BaseAddress!;
        var peer = new TcpClient();
        await peer.ConnectAsync(address.Host, address.Port);
        var stream = peer.GetStream();
        await stream.WriteAsync(
            Encoding.ASCII.GetBytes(
                $"PUT {_path} HTTP/1.1\r\nHost: {address.Authority}\r\nContent-Length: {Ns.Layout.BlockBytes}\r\n\r\n"));
        await stream.WriteAsync(Content.Of(_prefix, 0).AsMemory(0, bytes));
        return peer;
    }

    // A silo that still serves the puts before is busy for a moment.
    private Task<TimeSpan> AssertNotVisibleAsync() => Eventually.TrueAsync("the silo says that there is no such block", async () =>
    {
        using var head = await _http.HeadAsync(_path);
        Assert.False(head.IsSuccessStatusCode);
        return head.StatusCode == HttpStatusCode.NotFound;
    });

    private async Task AssertNothingStoredAsync()
    {
        await AssertNotVisibleAsync();
        await Eventually.TrueAsync("no memory is in use", async () =>
        {
            using var response = await _http.Client.GetAsync("/v1/stats");
            var store = (await HttpSilo.JsonAsync(response))["store"];
            return store?["arenaUsedBytes"]!.GetValue<long>() == 0 && store["writing"]!.GetValue<int>() == 0;
        });
    }

    /// <summary>A silo of few and short requests, in which no test leaves a block.</summary>
    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        internal HttpSilo Http { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Process = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
            {
                ["KvCache:Http:MaxRequests"] = "2",
                ["KvCache:Http:MaxJsonBytes"] = "4096",
            }));
            Http = new HttpSilo(Process);
        }

        public async ValueTask DisposeAsync()
        {
            Http.Dispose();
            await Process.DisposeAsync();
        }
    }
}
