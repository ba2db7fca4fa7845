using System.Buffers.Text;
using System.Net;
using System.Text.Json.Nodes;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

public sealed class HttpTenantTests(HttpTenantTests.Silo shared) : IClassFixture<HttpTenantTests.Silo>
{
    private const string AcmeSecret = "a secret of the tenant acme", GlobexSecret = "a secret of the tenant globex";

    private static readonly KvLayout Layout = KvLayout.Create(2, 2, 16, KvDataType.Float16, 16);

    [Fact]
    public async Task Two_tenants_with_equal_prompts_never_meet()
    {
        var silo = shared.Process;
        using var acme = new HttpSilo(silo, AcmeSecret);
        using var globex = new HttpSilo(silo, GlobexSecret);
        int[] tokens = [.. Enumerable.Range(0, 16)];
        var (mine, theirs) =
            (KvPrefix.Of(Prefixes.Namespace("m", Layout, "acme"), tokens), KvPrefix.Of(Prefixes.Namespace("m", Layout, "globex"), tokens));
        var hash = mine.Chain.Hashes[0];
        Assert.Equal(hash, theirs.Chain.Hashes[0]);
        var ns = await acme.RegisterAsync(mine.Namespace);
        var other = await globex.RegisterAsync(theirs.Namespace);
        using (var put = await acme.PutAsync(HttpSilo.Path(ns, hash), Content.Of(mine, 0)))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);

        // Under their own namespace the other tenant finds nothing, and the first one's cannot be named, by its id or by its encoding.
        using (var get = await globex.Client.GetAsync(HttpSilo.Path(other, hash)))
            await HttpSilo.ProblemAsync(get, 404, "block-not-stored");
        Assert.Equal(
            0, await FoundAsync(
            globex, "/v1/match", new JsonObject { ["namespaces"] = new JsonArray(other), ["hashes"] = new JsonArray(hash.ToString()) },
            "blocks"));
        Assert.Equal(
            0, await FoundAsync(
            globex, "/v1/locate", new JsonObject { ["namespace"] = other, ["hashes"] = new JsonArray(hash.ToString()) }, "found"));
        foreach (var name in new[] { ns, Base64Url.EncodeToString(mine.Namespace.Encoded) })
        {
            var path = HttpSilo.Path(name, hash);
            using (var get = await globex.Client.GetAsync(path))
                await HttpSilo.ProblemAsync(get, 404, "namespace-unknown");
            using (var put = await globex.PutAsync(path, Content.Of(theirs, 0)))
                await HttpSilo.ProblemAsync(put, 404, "namespace-unknown");
            foreach (var deleted in new[] { path, $"/v1/blocks/{name}" })
            {
                using var delete = await globex.Client.DeleteAsync(deleted);
                await HttpSilo.ProblemAsync(delete, 404, "namespace-unknown");
            }

            using (var head = await globex.HeadAsync(path))
                Assert.Equal(HttpStatusCode.NotFound, head.StatusCode);
            foreach (var (endpoint, body) in new[]
            {
                ("/v1/match", new JsonObject { ["namespaces"] = new JsonArray(name), ["hashes"] = new JsonArray() }),
                ("/v1/locate", new JsonObject { ["namespace"] = name, ["hashes"] = new JsonArray(hash.ToString()) }),
                ("/v1/pin", new JsonObject { ["namespace"] = name, ["hashes"] = new JsonArray(), ["seconds"] = 1 }),
                ("/v1/expire", new JsonObject { ["namespace"] = name, ["hashes"] = new JsonArray(hash.ToString()), ["seconds"] = 1 }),
            })
            {
                using var post = await globex.PostAsync(endpoint, body);
                await HttpSilo.ProblemAsync(post, 404, "namespace-unknown");
            }
        }

        using (var register =
            await globex.PostAsync("/v1/namespaces", new JsonObject { ["encoding"] = Base64Url.EncodeToString(mine.Namespace.Encoded) }))
            await HttpSilo.ProblemAsync(register, 403, "forbidden");
        using (var get = await acme.Client.GetAsync(HttpSilo.Path(ns, hash)))
            Assert.Equal(Content.Of(mine, 0), await get.Content.ReadAsByteArrayAsync());
        silo.AssertHealthy();
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("a secret of the tenant acmf")]
    [InlineData("a secret of the tenant acme and more")]
    public async Task Without_a_tenants_secret_nothing_but_health_is_served(string? token)
    {
        var silo = shared.Process;
        using var http = new HttpSilo(silo, token);
        foreach (var path in new[] { "/v1/stats", "/V1/stats", "/%761/stats", "/v1/nothing" })
        {
            using var response = await http.Client.GetAsync(path);
            await HttpSilo.ProblemAsync(response, 401, "unauthenticated");
            Assert.Equal("Bearer", response.Headers.WwwAuthenticate.Single().Scheme);
        }

        foreach (var path in new[] { "/healthz", "/readyz", "/openapi/v1.json" })
        {
            using var response = await http.Client.GetAsync(path);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public async Task Beyond_loopback_a_silo_without_tenants_serves_health_only()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Http: "http://0.0.0.0:0"));
        using var http = new HttpSilo(silo);
        using (var response = await http.Client.GetAsync("/v1/stats"))
            Assert.Contains(
                "KvCache:Tenants:NAME:Secret", await HttpSilo.ProblemAsync(response, 403, "forbidden"), StringComparison.Ordinal);
        Assert.Equal("ok", await http.Client.GetStringAsync("/healthz"));
    }

    private static async Task<int> FoundAsync(HttpSilo http, string path, JsonObject body, string member)
    {
        using var response = await http.PostAsync(path, body);
        return (await HttpSilo.JsonAsync(response))[member]!.GetValue<int>();
    }

    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() =>
            Process = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
            {
                ["KvCache:Tenants:acme:Secret"] = AcmeSecret,
                ["KvCache:Tenants:globex:Secret"] = GlobexSecret,
            }));

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
