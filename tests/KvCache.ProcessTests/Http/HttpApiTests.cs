using System.Buffers.Text;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using KvCache.Checksums;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

public sealed class HttpApiTests(HttpApiTests.Silo shared) : IClassFixture<HttpApiTests.Silo>, IAsyncLifetime
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("http", KvLayout.Create(4, 2, 16, KvDataType.Float16, 16));

    private readonly SiloProcess _silo = shared.Process;

    private HttpSilo _http = null!;
    private string _ns = null!;

    public async ValueTask InitializeAsync()
    {
        _http = new HttpSilo(_silo);
        _ns = await _http.RegisterAsync(Ns);
    }

    public ValueTask DisposeAsync()
    {
        _http.Dispose();
        _silo.AssertHealthy();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task A_block_comes_back_whole_and_by_layers_over_http_and_over_the_data_plane()
    {
        var prefix = Prefixes.New(Ns, 1);
        var block = Content.Of(prefix, 0);
        var path = HttpSilo.Path(_ns, prefix.Chain.Hashes[0]);

        using (var put = await _http.PutAsync(path, block))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        using (var again = await _http.PutAsync(path, block))
            Assert.Equal("AlreadyStored", (await HttpSilo.JsonAsync(again))["outcome"]!.GetValue<string>());

        using var whole = await _http.Client.GetAsync(path);
        Assert.Equal(block, await whole.Content.ReadAsByteArrayAsync());
        var layer = Ns.Layout.LayerBytes(0);
        using var part = await _http.Client.GetAsync(path + "?first=1&layers=2");
        Assert.Equal(block[layer..(3 * layer)], await part.Content.ReadAsByteArrayAsync());
        Assert.Equal("1-2/4", part.Headers.GetValues("KvCache-Layers").Single());
        Assert.Equal(
            $"{BlockChecksum.Compute(block.AsSpan(layer, layer)):x8},{BlockChecksum.Compute(block.AsSpan(2 * layer, layer)):x8}",
            part.Headers.GetValues("KvCache-Checksums").Single());
        using var rest = await _http.Client.GetAsync(path + "?first=3");
        Assert.Equal(block[(3 * layer)..], await rest.Content.ReadAsByteArrayAsync());

        await using var client = _silo.Connect();
        var memory = prefix.Memory(1);
        Assert.Equal(1, (await client.LoadAsync(prefix, 0, memory)).Blocks);
        Assert.True(Content.IsRight(memory[0].Span, prefix.Key(0)));
    }

    [Fact]
    public async Task A_block_of_the_data_plane_is_found_described_pinned_and_deleted()
    {
        var prefix = Prefixes.New(Ns, 3);
        await using (var client = _silo.Connect())
            await client.StoreAsync(prefix, 0, prefix.Blocks());
        var path = HttpSilo.Path(_ns, prefix.Chain.Hashes[1]);

        using (var head = await _http.HeadAsync(path))
        {
            Assert.Equal(
                (200, Ns.Layout.BlockBytes, "memory"),
                ((int)head.StatusCode, head.Content.Headers.ContentLength, head.Headers.GetValues("KvCache-Tiers").Single()));
        }

        using (var match =
            await _http.PostAsync("/v1/match", new JsonObject { ["namespaces"] = new JsonArray(_ns), ["hashes"] = Hashes(prefix) }))
            Assert.Equal((3, 48, 3), Match(await HttpSilo.JsonAsync(match)));
        using (var pin =
            await _http.PostAsync("/v1/pin", new JsonObject { ["namespace"] = _ns, ["hashes"] = Hashes(prefix), ["seconds"] = 60 }))
            Assert.Equal(3, (await HttpSilo.JsonAsync(pin))["pinned"]!.GetValue<int>());
        using (var delete = await _http.Client.DeleteAsync(path))
            Assert.Equal(HttpStatusCode.NoContent, delete.StatusCode);
        using (var again = await _http.Client.DeleteAsync(path))
            await HttpSilo.ProblemAsync(again, 404, "block-not-stored");
        using (var head = await _http.HeadAsync(path))
            Assert.Equal(HttpStatusCode.NotFound, head.StatusCode);
        using (var match =
            await _http.PostAsync("/v1/match", new JsonObject { ["namespaces"] = new JsonArray(_ns), ["hashes"] = Hashes(prefix) }))
            Assert.Equal((1, 16, 3), Match(await HttpSilo.JsonAsync(match)));
        var statistics = await _http.Client.GetFromJsonAsync<JsonNode>("/v1/stats");
        Assert.True(statistics!["pinnedBytes"]!.GetValue<long>() > 0);
    }

    [Fact]
    public async Task Blocks_get_a_life_and_a_namespace_is_cleared()
    {
        var prefix = Prefixes.New(Ns, 3);
        await using var client = _silo.Connect();
        await client.StoreAsync(prefix, 0, prefix.Blocks());
        var path = HttpSilo.Path(_ns, prefix.Chain.Hashes[1]);
        Assert.Null(await EndOfLifeAsync());

        foreach (var seconds in new double?[] { 3600, null })
        {
            using var expire = await _http.PostAsync(
                "/v1/expire", new JsonObject { ["namespace"] = _ns, ["hashes"] = Hashes(prefix), ["seconds"] = seconds });
            Assert.Equal("""{"set":3,"notConfirmed":0}""", await expire.Content.ReadAsStringAsync());
            Assert.Equal(seconds is null, await EndOfLifeAsync() is null);
        }

        using (var cleared = await _http.Client.DeleteAsync($"/v1/blocks/{_ns}"))
        {
            Assert.Equal(HttpStatusCode.OK, cleared.StatusCode);
            Assert.InRange((await HttpSilo.JsonAsync(cleared))["deleted"]!.GetValue<int>(), 3, int.MaxValue);
        }

        Assert.Equal(0, (await client.MatchAsync(prefix)).Blocks);
        using (var expire = await _http.PostAsync(
            "/v1/expire", new JsonObject { ["namespace"] = _ns, ["hashes"] = Hashes(prefix), ["seconds"] = 1 }))
            Assert.Equal("""{"set":0,"notConfirmed":0}""", await expire.Content.ReadAsStringAsync());

        async Task<DateTimeOffset?> EndOfLifeAsync()
        {
            using var get = await _http.Client.GetAsync(path);
            return get.Content.Headers.Expires;
        }
    }

    [Fact]
    public async Task A_prompt_is_located_by_its_tokens()
    {
        int[] tokens = [.. Enumerable.Range(7000, 70)];
        var prefix = KvPrefix.Of(Ns, tokens);
        await using (var client = _silo.Connect())
            await client.StoreAsync(prefix, 0, prefix.Blocks()[..2]);

        using var response = await _http.PostAsync("/v1/locate", new JsonObject
        {
            ["namespace"] = _ns,
            ["tokens"] = new JsonArray([.. tokens.Select(token => (JsonNode)token)]),
            ["weights"] = new JsonObject { ["memory"] = 0.25 },
        });
        var reply = await HttpSilo.JsonAsync(response);

        Assert.Equal((70, 32, 0), (reply["tokens"]!.GetValue<int>(), reply["found"]!.GetValue<int>(), reply["redis"]!.GetValue<int>()));
        var node = Assert.Single(reply["nodes"]!.AsArray())!;
        Assert.Equal(_silo.Tcp, node["node"]!.GetValue<string>());
        Assert.Equal((true, 0, 32), (node["here"]!.GetValue<bool>(), node["gpu"]!.GetValue<int>(), node["memory"]!.GetValue<int>()));
        Assert.Equal(38, node["plan"]!["compute"]!.GetValue<int>());
        Assert.Equal(1 - (((32 * 0.25) + 38) / 70), node["score"]!.GetValue<double>(), 9);
    }

    [Fact]
    public async Task A_block_ends_with_its_time_to_live()
    {
        var prefix = Prefixes.New(Ns, 1);
        var path = HttpSilo.Path(_ns, prefix.Chain.Hashes[0]);
        using (var put = await _http.PutAsync(path + "?ttl=1", Content.Of(prefix, 0)))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        await Eventually.TrueAsync("the block has expired", async () =>
        {
            using var head = await _http.HeadAsync(path);
            return head.StatusCode == HttpStatusCode.NotFound;
        });
    }

    [Fact]
    public async Task An_encoding_stands_for_the_id_of_a_namespace_that_was_never_registered()
    {
        var ns = Ns with { Revision = "never registered", Layout = KvLayout.Opaque([0, 100, 300], 16) };
        var prefix = Prefixes.New(ns, 1);
        var block = Content.Of(prefix, 0);
        var path = HttpSilo.Path(Base64Url.EncodeToString(ns.Encoded), prefix.Chain.Hashes[0]);

        using (var put = await _http.PutAsync(path, block))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        using (var get = await _http.Client.GetAsync(path + "?first=1&layers=1"))
            Assert.Equal(block[100..], await get.Content.ReadAsByteArrayAsync());
        using (var byId = await _http.Client.GetAsync(HttpSilo.Path(ns.Id.ToString(), prefix.Chain.Hashes[0])))
            await HttpSilo.ProblemAsync(byId, 404, "namespace-unknown");
        using (var registered =
            await _http.PostAsync("/v1/namespaces", new JsonObject { ["encoding"] = Base64Url.EncodeToString(ns.Encoded) }))
            Assert.Equal(ns.Id.ToString(), (await HttpSilo.JsonAsync(registered))["id"]!.GetValue<string>());
        using (var byId = await _http.Client.GetAsync(HttpSilo.Path(ns.Id.ToString(), prefix.Chain.Hashes[0])))
            Assert.Equal(block, await byId.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task The_openapi_document_describes_every_path()
    {
        var document = await _http.Client.GetFromJsonAsync<JsonNode>("/openapi/v1.json");

        Assert.StartsWith("3.", document!["openapi"]!.GetValue<string>(), StringComparison.Ordinal);
        var paths = document["paths"]!.AsObject();
        Assert.Equal(
            ["/v1/blocks/{ns}", "/v1/blocks/{ns}/{hash}", "/v1/expire", "/v1/hint", "/v1/locate", "/v1/match", "/v1/namespaces",
                "/v1/namespaces/{ns}", "/v1/pin", "/v1/stats"],
            paths.Select(path => path.Key).Order(StringComparer.Ordinal));
        Assert.Equal(
            ["delete", "get", "head", "put"],
            paths["/v1/blocks/{ns}/{hash}"]!.AsObject().Select(method => method.Key).Order(StringComparer.Ordinal));
        Assert.NotNull(paths["/v1/blocks/{ns}/{hash}"]!["put"]!["requestBody"]!["content"]!["application/octet-stream"]);
        Assert.NotNull(document["components"]!["securitySchemes"]!["tenantSecret"]);
    }

    private static JsonArray Hashes(KvPrefix prefix) => new([.. prefix.Chain.Hashes.ToArray().Select(hash => (JsonNode)hash.ToString())]);

    private static (int Blocks, int Tokens, int Of) Match(JsonNode reply) =>
        (reply["blocks"]!.GetValue<int>(), reply["tokens"]!.GetValue<int>(), reply["of"]!.GetValue<int>());

    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Process = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false));

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
