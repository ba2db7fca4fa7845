using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Tenants;
using KvCache.Testing;
using KvCache.TorchSharp;
using Xunit;

namespace KvCache.ProcessTests;

/// <summary>Tenants that are made, changed, disabled and deleted while two silos run.</summary>
public sealed class TenantAdministrationTests : IDisposable
{
    private const string Token = "the administrator's token", NewSecret = "a secret of a new tenant";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-tenants-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_tenant_comes_changes_and_goes_with_all_its_blocks_on_every_silo_and_over_a_restart()
    {
        await using var cluster = await SiloCluster.StartAsync(2, settings: new SiloSettings(Settings: new Dictionary<string, string>
        {
            ["KvCache:Tenants:acme:Secret"] = TwoTenants.AcmeSecret,
            ["KvCache:Tenants:acme:Share"] = "0.5",
            ["KvCache:Accounts:AdminToken"] = Token,
            ["KvCache:Accounts:File"] = Path.Combine(_folder.FullName, "tenants-{silo}.json"),
        }));
        using (var stranger = Administrator(cluster[0], "not the token at all"))
            Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.GetAsync("/admin/tenants")).StatusCode);
        using var admin = Administrator(cluster[0], Token);

        // Made on one silo, let in by both.
        Assert.Equal("active", await PutAsync(admin, "globex", new JsonObject { ["secret"] = NewSecret, ["share"] = 0.3 }));
        await using var here = Connect(cluster[0]);
        await using var there = Connect(cluster[1]);
        var first = TwoTenants.Prefix("globex", 4);
        var second = TwoTenants.Prefix("globex", 4);
        await here.MustStoreAsync(first);
        await Eventually.TrueAsync(
            "the other silo knows the tenant", async () =>
            (await there.StoreAsync(second, 0, second.Blocks())).Stored == second.BlockCount);

        // What does not hold changes nothing.
        using (var refused = await admin.PutAsJsonAsync("/admin/tenants/globex", new JsonObject { ["share"] = 0.6 }))
        {
            Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
            Assert.Contains("1.1 together", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        Assert.Equal(0.3, (await GetAsync(admin, "globex"))["share"]!.GetValue<double>());

        // Disabled: not let in, and what is open ends.
        Assert.Equal("disabled", await PutAsync(admin, "globex", new JsonObject { ["disabled"] = true }));
        await Eventually.TrueAsync("its clients are refused", async () => (await here.MatchAsync(first)).Blocks == 0);
        Assert.Equal("active", await PutAsync(admin, "globex", new JsonObject { ["disabled"] = false }));
        await Eventually.TrueAsync(
            "its clients are back, and so are its blocks", async () => (await here.MatchAsync(first)).Blocks == first.BlockCount);

        // Deleted: nothing is left on any silo.
        using (var deleted = await admin.DeleteAsync("/admin/tenants/globex"))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        await Eventually.TrueAsync(
            "nothing is left of it", async () => (await GetAsync(admin, "globex"))["state"]!.GetValue<string>() == "deleted");
        using var otherAdmin = Administrator(cluster[1], Token);
        Assert.Equal(0, (await GetAsync(otherAdmin, "globex"))["meter"]!["usedBytes"]!.GetValue<long>());
        Assert.Equal(HttpStatusCode.NotFound, (await admin.DeleteAsync("/admin/tenants/nobody")).StatusCode);
        Assert.Contains("Deletion of tenant 'globex'", cluster[0].Log, StringComparison.Ordinal);
        Assert.DoesNotContain(NewSecret, cluster[0].Log, StringComparison.Ordinal);

        // A silo that comes back knows by its file.
        await cluster[1].StopAsync();
        await cluster.StartAsync(1);
        using var again = Administrator(cluster[1], Token);
        Assert.StartsWith("delet", (await GetAsync(again, "globex"))["state"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Equal("active", (await GetAsync(again, "acme"))["state"]!.GetValue<string>());
    }

    [Fact]
    public async Task Of_a_deleted_tenant_nothing_is_left_in_Redis_when_its_state_says_so()
    {
        using var redis = RedisProcess.Start();
        await using var cluster = await SiloCluster.StartAsync(2, redis, new SiloSettings(Settings: new Dictionary<string, string>
        {
            ["KvCache:Tenants:acme:Secret"] = TwoTenants.AcmeSecret,
            ["KvCache:Tenants:globex:Secret"] = NewSecret,
            ["KvCache:Accounts:AdminToken"] = Token,
            ["KvCache:Accounts:File"] = Path.Combine(_folder.FullName, "tenants-{silo}.json"),
        }));
        using var admin = Administrator(cluster[0], Token);
        foreach (var silo in cluster.Living)
        {
            await StorePersistedAsync(Connect(cluster[silo]), TwoTenants.Prefix("globex", 40));
            await StorePersistedAsync(cluster[silo].ConnectAs("acme"), TwoTenants.Prefix("acme", 4));
        }

        await Eventually.TrueAsync("Redis has them", () => KeysOf("globex") >= 80 && KeysOf("acme") >= 8);
        var acmes = KeysOf("acme");

        using (var deleted = await admin.DeleteAsync("/admin/tenants/globex"))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        await Eventually.TrueAsync(
            "the deletion is done", async () => (await GetAsync(admin, "globex"))["state"]!.GetValue<string>() == "deleted");

        Assert.Equal(0, KeysOf("globex"));
        Assert.Equal(acmes, KeysOf("acme"));

        int KeysOf(string tenant) => int.Parse(
            redis.Command("EVAL", "return #redis.call('keys', '*' .. ARGV[1] .. '*')", "0", TenantId.Of(tenant).ToString())[1..],
            System.Globalization.CultureInfo.InvariantCulture);
    }

    private static async Task StorePersistedAsync(KvCacheClient client, KvPrefix prefix)
    {
        await using (client)
            Assert.Equal(
                prefix.BlockCount,
                (await client.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Durability: Durability.Persisted))).Stored);
    }

    private static KvCacheClient Connect(SiloProcess silo) => silo.Connect(configure: options =>
    {
        options.Tenant = "globex";
        options.Secret = NewSecret;
        options.MaxSilos = 0;
    });

    private static HttpClient Administrator(SiloProcess silo, string token)
    {
        var client = new HttpClient { BaseAddress = new Uri(silo.Ready.Http), Timeout = Eventually.Bound };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return client;
    }

    private static async Task<string> PutAsync(HttpClient admin, string tenant, JsonObject request)
    {
        using var response = await admin.PutAsJsonAsync($"/admin/tenants/{tenant}", request);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        Assert.DoesNotContain("ecret", text, StringComparison.Ordinal);
        return JsonNode.Parse(text)!["state"]!.GetValue<string>();
    }

    private static async Task<JsonNode> GetAsync(HttpClient admin, string tenant) =>
        JsonNode.Parse(await admin.GetStringAsync($"/admin/tenants/{tenant}"))!;
}
