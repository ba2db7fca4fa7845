using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Resp;
using KvCache.ProcessTests.Tenants;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Who sees what of a silo with two tenants, through each of its doors.</summary>
public sealed class ViewTests(ViewTests.Silo shared) : IClassFixture<ViewTests.Silo>
{
    private const string Administrator = "the administrator's token", Scraper = "the scraper's token";

    private SiloProcess Process => shared.Process;

    [Fact]
    public async Task A_tenant_sees_its_own_figures_and_nobody_elses()
    {
        await using (var client = Process.ConnectAs("acme"))
            await client.MustStoreAsync(TwoTenants.Prefix("acme", 3));

        Assert.True((await StatisticsAsync("acme"))["blocks"]!.GetValue<int>() >= 3);
        var evil = await StatisticsAsync("evil");
        Assert.Equal((0, 0L), (evil["blocks"]!.GetValue<int>(), evil["usedBytes"]!.GetValue<long>()));
        Assert.Null(evil["store"]);
        Assert.Null(evil["connections"]);

        using (var peer = RawPeer.Authenticated(Process.Tcp, "evil", TwoTenants.EvilSecret))
        {
            peer.Send(FrameType.Stat, _ => { });
            peer.ExpectReply(FrameType.StatReply, out var meta);
            Assert.Equal(
                evil.AsObject().Select(member => member.Key).Order(),
                JsonNode.Parse(meta)!.AsObject().Select(member => member.Key).Where(name => evil[name] is not null).Order());
            Assert.Equal(0, JsonNode.Parse(meta)!["blocks"]!.GetValue<int>());
        }

        using var redis = new RespPeer(Process);
        Assert.Equal("+OK", redis.Call("AUTH", "evil", TwoTenants.EvilSecret));
        var info = redis.Call("INFO");
        Assert.Contains("used_memory:0\r\n", info, StringComparison.Ordinal);
        Assert.Contains("connected_clients:1\r\n", info, StringComparison.Ordinal);
        Assert.DoesNotContain("total_net", info, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/metrics")]
    [InlineData("/Metrics/")]
    [InlineData("/admin/stats")]
    [InlineData("/admin/tenants")]
    public async Task The_silos_figures_ask_for_a_token_of_who_runs_it(string path)
    {
        foreach (var token in new[] { null, "a token of somebody else", TwoTenants.AcmeSecret })
        {
            using var stranger = new HttpSilo(Process, token);
            using var refused = await stranger.Client.GetAsync(path);
            await HttpSilo.ProblemAsync(refused, 401, "unauthenticated");
        }

        foreach (var token in new[] { Administrator, Scraper })
        {
            using var http = new HttpSilo(Process, token);
            using var response = await http.Client.GetAsync(path);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public async Task A_token_is_exchanged_while_the_silo_serves()
    {
        const string New = "the scraper's next token";
        using HttpSilo old = new(Process, Scraper), next = new(Process, New);

        shared.WriteScrapeToken(New);
        await Eventually.TrueAsync("the new token is taken", () => SeesFiguresAsync(next));
        Assert.False(await SeesFiguresAsync(old));

        shared.WriteScrapeToken(Administrator); // changes nothing
        await Eventually.TrueAsync(
            "a file that cannot be used is told", () => Process.Log.Contains("Choose another one", StringComparison.Ordinal));
        Assert.True(await SeesFiguresAsync(next));

        shared.WriteScrapeToken(Scraper);
        await Eventually.TrueAsync("the old token is back", () => SeesFiguresAsync(old));

        static async Task<bool> SeesFiguresAsync(HttpSilo silo)
        {
            using var response = await silo.Client.GetAsync("/admin/stats");
            return response.IsSuccessStatusCode;
        }
    }

    [Fact]
    public async Task Whoever_sees_figures_changes_nothing()
    {
        using var scraper = new HttpSilo(Process, Scraper);
        using (var put =
            await scraper.Client.PutAsync(
            "/admin/tenants/acme", new StringContent("""{"share":0}""", new MediaTypeHeaderValue("application/json"))))
            await HttpSilo.ProblemAsync(put, 401, "unauthenticated");
        using (var delete = await scraper.Client.DeleteAsync("/admin/tenants/acme"))
            await HttpSilo.ProblemAsync(delete, 401, "unauthenticated");
        Assert.Equal("active", JsonNode.Parse(await scraper.Client.GetStringAsync("/admin/tenants/acme"))!["state"]!.GetValue<string>());
    }

    [Theory]
    [InlineData("PUT /admin/tenants/acme")]
    [InlineData("POST /admin/leave")]
    [InlineData("POST /v1/match")]
    [InlineData("PUT /v1/blocks/00000000000000000000000000000000/0000000000000000000000000000000000000000000000000000000000000000")]
    public async Task Nobody_makes_the_silo_read_a_body_before_he_has_shown_who_he_is(string request)
    {
        Assert.StartsWith("HTTP/1.1 401", await AnswerBeforeTheBodyAsync(request), StringComparison.Ordinal);
        Assert.False(Process.HasExited);
    }

    [Fact]
    public async Task What_an_administrator_sends_is_bounded()
    {
        var answer = await AnswerBeforeTheBodyAsync("PUT /admin/tenants/large", Administrator);
        Assert.StartsWith("HTTP/1.1 413", answer, StringComparison.Ordinal);
        Assert.Contains("body-too-large", answer, StringComparison.Ordinal);
    }

    /// <summary>What the silo answers to somebody who announces a large body and sends its first bytes.</summary>
    private async Task<string> AnswerBeforeTheBodyAsync(string request, string? token = null)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp)
        {
            ReceiveTimeout = (int)Eventually.Bound.TotalMilliseconds,
        };
        var silo = new Uri(Process.Ready.Http);
        await socket.ConnectAsync(silo.Host, silo.Port, TestContext.Current.CancellationToken);
        socket.Send(Encoding.ASCII.GetBytes(
            $"{request} HTTP/1.1\r\nHost: {silo.Authority}\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n"
            + (token is null ? "" : $"Authorization: Bearer {token}\r\n") + "\r\n{\"secret\":\""));

        // The silo closes or resets a connection whose body it did not read; what it had answered can be read.
        var answer = new StringBuilder();
        var buffer = new byte[4096];
        SocketError error;
        int count;
        while ((count = socket.Receive(buffer, SocketFlags.None, out error)) > 0)
            answer.Append(Encoding.ASCII.GetString(buffer, 0, count));
        Assert.True(error is SocketError.Success or SocketError.ConnectionReset, $"{error} after '{answer}'");
        return answer.ToString();
    }

    [Theory]
    [InlineData(Administrator)]
    [InlineData(Scraper)]
    [InlineData("a secret of all the silos")]
    public async Task A_tenant_gets_no_secret_that_is_somebodys_who_may_do_more(string secret)
    {
        using var admin = new HttpSilo(Process, Administrator);
        using var put = await admin.Client.PutAsync(
            "/admin/tenants/careless",
            new StringContent(new JsonObject { ["secret"] = secret }.ToJsonString(), new MediaTypeHeaderValue("application/json")));
        var problem = await put.Content.ReadAsStringAsync();
        Assert.Equal(HttpStatusCode.BadRequest, put.StatusCode);
        Assert.Contains("Give it another one.", problem, StringComparison.Ordinal);
        Assert.DoesNotContain("careless", await admin.Client.GetStringAsync("/admin/tenants"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Readiness_is_told_to_anybody_and_its_details_to_who_runs_the_silo()
    {
        foreach (var token in new[] { null, TwoTenants.AcmeSecret })
        {
            using var http = new HttpSilo(Process, token);
            Assert.Equal("""{"ready":true}""", await http.Client.GetStringAsync("/readyz"));
        }

        using var scraper = new HttpSilo(Process, Scraper);
        Assert.Equal(64 << 20, JsonNode.Parse(await scraper.Client.GetStringAsync("/readyz"))!["arenaBytes"]!.GetValue<long>());
    }

    [Theory]
    [InlineData("evil.example", null, 421)]
    [InlineData("evil.example:80", null, 421)]
    [InlineData("10.1.2.3", null, 421)]
    [InlineData("kvcache.example", null, 200)]
    [InlineData("localhost", null, 200)]
    [InlineData("[::1]", null, 200)]
    [InlineData(null, "http://evil.example", 403)]
    [InlineData(null, "null", 403)]
    [InlineData(null, "http://localhost:3000", 403)]
    [InlineData("localhost:3000", "http://localhost:3000", 200)]
    public async Task A_web_page_reaches_nothing(string? host, string? origin, int status)
    {
        foreach (var path in new[] { "/v1/stats", "/readyz", "/healthz" })
        {
            using var http = new HttpSilo(Process, TwoTenants.AcmeSecret);
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            request.Headers.Host = host;
            if (origin is not null)
                request.Headers.Add("Origin", origin);
            using var response = await http.Client.SendAsync(request);
            if (status == 200)
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            else
                await HttpSilo.ProblemAsync(response, status, status == 421 ? "misdirected" : "forbidden");
        }
    }

    [Fact]
    public async Task A_silo_without_tenants_shows_its_figures_over_loopback_unless_told_otherwise()
    {
        await using var open = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false));
        using (var http = new HttpSilo(open))
            Assert.Contains("kvcache_arena_used", await http.Client.GetStringAsync("/metrics"), StringComparison.Ordinal);

        await using var closed =
            await SiloProcess.StartAsync(
            new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string> { ["KvCache:Accounts:ShowLoopback"] = "false" }));
        using var refused = new HttpSilo(closed);
        using (var response = await refused.Client.GetAsync("/metrics"))
            Assert.Contains(
                "KvCache:Accounts:ScrapeToken", await HttpSilo.ProblemAsync(response, 403, "forbidden"), StringComparison.Ordinal);
        Assert.Equal("""{"ready":true}""", await refused.Client.GetStringAsync("/readyz"));
    }

    private async Task<JsonNode> StatisticsAsync(string tenant)
    {
        using var http = new HttpSilo(Process, tenant == "acme" ? TwoTenants.AcmeSecret : TwoTenants.EvilSecret);
        return JsonNode.Parse(await http.Client.GetStringAsync("/v1/stats"))!;
    }

    public sealed class Silo : IAsyncLifetime
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-views-");

        internal SiloProcess Process { get; private set; } = null!;

        internal string WriteScrapeToken(params string[] tokens)
        {
            var path = Path.Combine(_folder.FullName, "scrape-token");
            File.WriteAllLines(path + ".new", tokens);
            File.Move(path + ".new", path, overwrite: true);
            return path;
        }

        public async ValueTask InitializeAsync() =>
            Process = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
            {
                ["KvCache:Tenants:acme:Secret"] = TwoTenants.AcmeSecret,
                ["KvCache:Tenants:evil:Secret"] = TwoTenants.EvilSecret,
                ["KvCache:Cluster:Mode"] = "Localhost",
                ["KvCache:Cluster:Secret"] = "a secret of all the silos",
                ["KvCache:Accounts:AdminToken"] = Administrator,
                ["KvCache:Accounts:ScrapeTokenFile"] = WriteScrapeToken(Scraper),
                ["KvCache:Reload:Interval"] = "100ms",
                ["KvCache:Accounts:File"] = Path.Combine(_folder.FullName, "tenants.json"),
                ["KvCache:Http:Hosts:0"] = "kvcache.example",
                ["KvCache:Resp:Listen"] = "127.0.0.1:0",
            }));

        public async ValueTask DisposeAsync()
        {
            await Process.DisposeAsync();
            _folder.Delete(recursive: true);
        }
    }
}
