using KvCache.Client;
using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Security;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Secrets are exchanged while silos serve.</summary>
public sealed class SecretRotationTests : IDisposable
{
    private const string Old = "the old secret of a test", New = "the new secret of a test";
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 100_000, 400_000], tokensPerBlock: 16);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-secrets-");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string TenantFile => Path.Combine(_folder.FullName, "acme");

    private string ClusterFile => Path.Combine(_folder.FullName, "cluster");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_tenants_secret_is_exchanged_under_load_without_a_failed_call()
    {
        Write(TenantFile, Old);
        await using var silo =
            await SiloProcess.StartAsync(
            Settings(("KvCache:Tenants:acme:SecretFile", TenantFile), ("KvCache:Tenants:other:Secret", "another tenant's secret")));
        var prefix = Prefixes.New(Prefixes.Namespace("secrets", Layout, "acme"), 3);
        await using (var client = silo.Connect(configure: As(Old)))
            await client.MustStoreAsync(prefix);
        await using var load = await Load.StartAsync([silo.Connect(configure: As(Old))], _ => prefix);

        Write(TenantFile, Old, New);
        await Eventually.TrueAsync("both secrets are accepted", async () => await AcceptsAsync(silo, New) && await AcceptsAsync(silo, Old));
        await load.MoreHitsAsync("the load goes on", 10);

        // What cannot be used changes nothing: another tenant's secret, one that is too short, none.
        foreach (var (
            wrong, sentence) in new[] { ("another tenant's secret", "has a secret of the tenant 'other'"), ("short", "is too short"),
            ("", "has 0 lines") })
        {
            Write(TenantFile, wrong);
            await Eventually.TrueAsync("the wrong file is told", () => silo.Log.Contains(sentence, StringComparison.Ordinal));
            Assert.True(await AcceptsAsync(silo, New));
        }

        // A client that has the secret from a file goes on with the new one when its connections end.
        var clientFile = TenantFile + ".client";
        Write(clientFile, Old);
        await using var fromFile = silo.Connect(configure: options => (options.Tenant, options.SecretFile) = ("acme", clientFile));
        await fromFile.MustLoadAsync(prefix);

        Write(TenantFile, New);
        await Eventually.TrueAsync("the old secret is refused", async () => !await AcceptsAsync(silo, Old));
        await using (var late = silo.Connect(configure: options => (options.Tenant, options.SecretFile) = ("acme", clientFile)))
        {
            Assert.Equal(0, (await late.MatchAsync(prefix)).Blocks);
            Write(clientFile, New);
            await Eventually.TrueAsync("the refused client reads its file again", () => late.LoadsAsync(prefix));
        }

        Assert.True(await AcceptsAsync(silo, New));
        await load.MoreHitsAsync("connections that exist go on", 10);
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
    }

    [Fact]
    public async Task An_Orleans_client_takes_its_new_secret_from_its_file()
    {
        Write(TenantFile, Old);
        await using var silo = await SiloProcess.StartAsync(
            Settings(("KvCache:Tenants:acme:SecretFile", TenantFile), ("KvCache:Orleans:TicketLife", "00:00:20")) with
            {
                GatewayPort = "0",
            });
        var ns = Prefixes.Namespace("secrets", Layout, "acme");
        var prefix = Prefixes.New(ns, 1);
        var clientFile = TenantFile + ".client";
        Write(clientFile, Old);
        await using var client = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", secretFile: clientFile);
        var grain = client.Grains.GetPrefix(prefix.Key(0));
        Assert.True(await grain.StoreAsync(ns, Content.Of(prefix, 0)));

        Write(TenantFile, Old, New);
        await Eventually.TrueAsync("both secrets are accepted", () => AcceptsAsync(silo, New));
        Write(clientFile, New);
        Write(TenantFile, New);
        await Eventually.TrueAsync("the old secret is refused", async () => !await AcceptsAsync(silo, Old));

        // By the next ticket, and by the next connection.
        var access = client.Service<TenantAccess>();
        var ticket = access.Ticket;
        await Eventually.TrueAsync("it has a new ticket", () => access.Ticket != ticket);
        Assert.NotNull(await grain.DescribeAsync());
        ticket = access.Ticket;
        access.Reconnect();
        await Eventually.TrueAsync("it has a new connection", () => access.Ticket != ticket);
        await Eventually.TrueAsync(
            "calls go on", async () => await Record.ExceptionAsync(() => grain.DescribeAsync().AsTask()) is null);

        // A file that cannot be used changes nothing.
        File.Delete(clientFile);
        ticket = access.Ticket;
        access.Reconnect();
        await Eventually.TrueAsync("it has a new connection with the secret that it had", () => access.Ticket != ticket);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task The_clusters_secret_is_exchanged_under_load_without_a_failed_call()
    {
        Write(ClusterFile, Old);
        await using var cluster =
            await SiloCluster.StartAsync(
            2, settings: Settings(("KvCache:Cluster:SecretFile", ClusterFile), ("KvCache:Cluster:CopyAfterReads", "0")));
        var prefix = Prefixes.New(Prefixes.Namespace("secrets", Layout), 3);
        await using (var client = cluster.Connect(0))
            await client.MustStoreAsync(prefix);
        await using var load = await Load.StartAsync([cluster.Connect(1)], _ => prefix);
        foreach (var secrets in new string[][] { [Old, New], [New, Old], [New] })
        {
            var told = cluster.Living.Select(silo => Reloads(cluster[silo])).ToArray();
            Write(ClusterFile, secrets);
            await Eventually.TrueAsync(
                "every silo has read its secrets again", () => cluster.Living.All(silo => Reloads(cluster[silo]) > told[silo]));
            await load.MoreHitsAsync("the load goes on", 10);
        }

        // Who is asked anew proves the new secret.
        var later = Prefixes.New(Prefixes.Namespace("secrets", Layout), 3);
        await using (var client = cluster.Connect(1))
            await client.MustStoreAsync(later);
        await using var other = cluster.Connect(0);
        await Eventually.TrueAsync("the other silo finds the blocks", () => other.LoadsAsync(later));
        Assert.Equal(1, await cluster.PeersAsync(0));
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
        cluster.AssertHealthy();
    }

    private static int Reloads(SiloProcess silo) => silo.Log.Split("Cluster:SecretFile was read again", StringSplitOptions.None).Length;

    private static SiloSettings Settings(params (string Key, string Value)[] settings) => new(
        UseUnix: false,
            Settings: settings.Append(("KvCache:Reload:Interval", "00:00:00.100"))
            .ToDictionary(setting => setting.Item1, setting => setting.Item2));

    private static Action<KvCacheClientOptions> As(string secret) => options => (options.Tenant, options.Secret) = ("acme", secret);

    private static async Task<bool> AcceptsAsync(SiloProcess silo, string secret)
    {
        await using var client = silo.Connect(configure: As(secret));
        try
        {
            return await client.ConnectAsync(Token);
        }
        catch (SiloException e) when (e.IsConfiguration)
        {
            return false;
        }
    }

    private static void Write(string path, params string[] lines)
    {
        File.WriteAllLines(path + ".new", lines);
        File.Move(path + ".new", path, overwrite: true);
    }
}
