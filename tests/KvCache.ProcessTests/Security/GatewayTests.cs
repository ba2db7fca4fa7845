using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Security;
using KvCache.Testing;
using KvCache.TorchSharp;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;

namespace KvCache.ProcessTests;

/// <summary>Orleans clients through the gateway: what a tenant's gets, and what nobody else does.</summary>
public sealed partial class GatewayTests(GatewayTests.Silos silos) : IClassFixture<GatewayTests.Silos>, IDisposable
{
    private const string AcmeSecret = "a secret of the tenant acme", EvilSecret = "a secret of the tenant evil";

    private static readonly KvLayout Layout = KvLayout.Create(2, 2, 16, KvDataType.Float16, 16);
    private static readonly CacheNamespace Acme = Prefixes.Namespace("gateway", Layout, "acme");

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-gateway-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_client_of_a_tenant_stores_reads_keeps_and_deletes_blocks_by_their_prefix()
    {
        await using var client = await silos.ConnectAsync("acme", AcmeSecret);
        int[] tokens = [.. Enumerable.Range(70_000, 16)];
        var grain = client.Grains.GetPrefix(Acme, tokens);
        var block = Content.Of(KvPrefix.Of(Acme, tokens), 0);

        Assert.Null(await grain.DescribeAsync());
        Assert.True(await grain.StoreAsync(Acme, block));

        Assert.Equal(block, await grain.LoadAsync(Layout.AllLayers));
        Assert.Equal(2, (await grain.DescribeAsync())!.Layers);
        Assert.True(await grain.PinAsync(TimeSpan.FromSeconds(1)));
        Assert.True(await grain.SetTimeToLiveAsync(TimeSpan.FromHours(1)));
        Assert.True(await grain.DeleteAsync());
        Assert.Null(await grain.DescribeAsync());
    }

    [Fact]
    public async Task A_client_does_not_say_on_which_silo_memory_was_reserved()
    {
        await using var client = await silos.ConnectAsync("acme", AcmeSecret);
        var intent = new WriteIntent { Namespace = Acme.Encoded.ToArray(), Silo = SiloAddress.New(IPAddress.Loopback, 1, 1) };

        var refused = await Assert.ThrowsAsync<UnauthorizedAccessException>(
            async () => await client.Grains.GetPrefix(Acme, [.. Enumerable.Range(71_000, 16)]).BeginAsync(intent));

        Assert.Contains("only silos say where memory was reserved", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_data_plane_stored_on_a_silo_with_a_closed_gateway_is_read_through_another_ones_gateway()
    {
        Assert.Equal(0, silos.Closed.Ready.GatewayPort);
        var prefix = await Silos.StoreAsync(silos.Closed);
        await using var client = await silos.ConnectAsync("acme", AcmeSecret);

        var grain = client.Grains.GetPrefix(prefix.Key(0));

        Assert.Equal(Content.Of(prefix, 0), await grain.LoadAsync(Layout.AllLayers));
    }

    public static TheoryData<string> Marks() =>
        ["its own ticket", "no ticket", "a made-up ticket", "its ticket with another tenant's id", "a made-up mark of a silo",
        "an empty mark", "a text"];

    [Theory]
    [MemberData(nameof(Marks))]
    public async Task A_client_of_another_tenant_gets_nothing_and_activates_nothing(string mark)
    {
        var prefix = await Silos.StoreAsync(silos.Open);
        var elsewhere = await Silos.StoreAsync(silos.Closed);
        OrleansClient? self = null;
        await using var evil = self =
            await silos.ConnectAsync("evil", EvilSecret, mark == "its own ticket" ? null : Attacker.Forging(() => mark switch
        {
            "a made-up ticket" => new TenantTicket { Bytes = RandomNumberGenerator.GetBytes(64) },
            "its ticket with another tenant's id" => new TenantTicket { Bytes = WithTenant(self?.Service<TenantAccess>().Ticket?.Bytes) },
            "a made-up mark of a silo" => new SiloMark { Mac = RandomNumberGenerator.GetBytes(32) },
            "an empty mark" => new SiloMark { Mac = null! },
            "a text" => "kvcache",
            _ => null,
        }));
        var before = await silos.ActiveGrainsAsync();

        foreach (var victim in new[] { prefix, elsewhere })
        {
            foreach (var (attack, refusal) in await Attacker.TryEverythingAsync(evil, victim.Key(0), Acme))
                Assert.True(refusal is UnauthorizedAccessException, $"{attack} with {mark}: {refusal?.ToString() ?? "it worked"}");
        }

        Assert.All(await silos.ActiveGrainsAsync(),
            type => Assert.True(type.Value <= before.GetValueOrDefault(type.Key), $"A grain of type {type.Key} was activated."));
        await using var acme = await silos.ConnectAsync("acme", AcmeSecret);
        foreach (var victim in new[] { prefix, elsewhere })
            Assert.Equal(Content.Of(victim, 0), await acme.Grains.GetPrefix(victim.Key(0)).LoadAsync(Layout.AllLayers));
        silos.AssertHealthy();
    }

    [Theory]
    [InlineData("the grain itself")]
    [InlineData("a system target of the silo")]
    [InlineData("the silo's own client")]
    public async Task A_forged_sender_proves_nothing(string sender)
    {
        var prefix = await Silos.StoreAsync(silos.Open);
        await using var evil =
            await silos.ConnectAsync(
            "evil", EvilSecret, client =>
            client.Configure<ClientMessagingOptions>(options => options.ResponseTimeout = TimeSpan.FromSeconds(2)));
        var grain = evil.Grains.GetPrefix(prefix.Key(0));
        var silo = evil.Silos[0];
        Attacker.ForgeSender(evil, sender switch
        {
            "the grain itself" => grain.GetGrainId(),
            "a system target of the silo" => SystemTargetGrainId.Create(SystemTargetGrainId.CreateGrainType("silo-control"), silo).GrainId,
            _ => GrainId.Create("sys.client", $"hosted-{silo.ToParsableString()}"),
        });

        // The answer goes to whom it names: what counts is what happens to the block.
        Assert.NotNull(await Record.ExceptionAsync(() => grain.DeleteAsync().AsTask()));
        Assert.NotNull(await Record.ExceptionAsync(() => grain.SetTimeToLiveAsync(TimeSpan.FromMilliseconds(1)).AsTask()));

        await using var acme = await silos.ConnectAsync("acme", AcmeSecret);
        Assert.Equal(Content.Of(prefix, 0), await acme.Grains.GetPrefix(prefix.Key(0)).LoadAsync(Layout.AllLayers));
    }

    [Fact]
    public async Task A_client_that_takes_the_name_of_a_silo_is_turned_away()
    {
        // A silo of its own: what is told again and again is only counted.
        await using var silo = await SiloProcess.StartAsync(Silos.Settings() with { GatewayPort = "0" });
        string identity;
        await using (var honest = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "evil", EvilSecret))
            identity = $"hosted-{honest.Silos[0].ToParsableString()}";
        await using var evil = OrleansClient.Create(silo.Ready.GatewayPort, "evil", EvilSecret);
        Attacker.ForgeIdentity(evil, identity);

        Assert.NotNull(await Record.ExceptionAsync(() => evil.StartAsync(TimeSpan.FromSeconds(5))));

        Assert.Contains("it takes the name of a silo", silo.Log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_with_a_wrong_secret_or_an_unknown_tenant_is_told_so_when_it_starts()
    {
        foreach (var (tenant, secret) in new[] { ("acme", EvilSecret), ("nobody", EvilSecret), ("acme", "") })
        {
            var refusal = await Assert.ThrowsAsync<UnauthorizedAccessException>(() => silos.ConnectAsync(tenant, secret));

            Assert.Contains($"refuses the Orleans client of tenant '{tenant}'", refusal.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_client_without_a_proof_does_not_get_in()
    {
        await using var stranger = OrleansClient.Create(silos.Open.Ready.GatewayPort, tenant: null);

        Assert.NotNull(await Record.ExceptionAsync(() => stranger.StartAsync(TimeSpan.FromSeconds(5))));
    }

    [Fact]
    public async Task A_ticket_ends_and_a_client_has_a_new_one_by_then()
    {
        await using var silo =
            await SiloProcess.StartAsync(Silos.Settings(("KvCache:Orleans:TicketLife", "00:00:20")) with { GatewayPort = "0" });
        var prefix = Prefixes.New(Acme, 1);
        TenantTicket? first = null;

        // It cannot renew its own ticket either, and connects again and again; a call that is lost meanwhile does not wait for long.
        await using var stale = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", AcmeSecret, client =>
        {
            Attacker.Forging(() => first)(client);
            client.Configure<ClientMessagingOptions>(options => options.ResponseTimeout = TimeSpan.FromSeconds(2));
        });
        await using var acme = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", AcmeSecret);
        first = acme.Service<TenantAccess>().Ticket;
        Assert.True(await stale.Grains.GetPrefix(prefix.Key(0)).StoreAsync(Acme, Content.Of(prefix, 0)));

        await Eventually.TrueAsync("the first ticket has ended", async () =>
            await Record.ExceptionAsync(
                () => stale.Grains.GetPrefix(prefix.Key(0)).DescribeAsync().AsTask()) is UnauthorizedAccessException);

        Assert.NotNull(await acme.Grains.GetPrefix(prefix.Key(0)).DescribeAsync());
        silo.AssertHealthy();
    }

    [Fact]
    public async Task A_stolen_ticket_is_worth_nothing_on_a_connection_of_another_tenant()
    {
        var prefix = await Silos.StoreAsync(silos.Open);
        await using var acme = await silos.ConnectAsync("acme", AcmeSecret);
        var ticket = acme.Service<TenantAccess>().Ticket;
        await using var thief = await silos.ConnectAsync("evil", EvilSecret, Attacker.Forging(() => ticket));

        Assert.IsType<UnauthorizedAccessException>(
            await Record.ExceptionAsync(() => thief.Grains.GetPrefix(prefix.Key(0)).DescribeAsync().AsTask()));

        Assert.NotNull(await acme.Grains.GetPrefix(prefix.Key(0)).DescribeAsync());
    }

    [Fact]
    public async Task A_disabled_tenant_gets_nothing_until_it_is_enabled_again()
    {
        const string Token = "the administrator's token";
        await using var silo = await SiloProcess.StartAsync(Silos.Settings(
            ("KvCache:Accounts:AdminToken", Token), ("KvCache:Accounts:File", Path.Combine(_folder.FullName, "tenants.json"))) with
        {
            GatewayPort = "0",
        });
        using var admin = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        admin.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token);
        var prefix = await Silos.StoreAsync(silo);
        await using var acme = await OrleansClient.StartAsync(
            silo.Ready.GatewayPort, "acme", AcmeSecret,
            client => client.Configure<ClientMessagingOptions>(options => options.ResponseTimeout = TimeSpan.FromSeconds(2)));
        var grain = acme.Grains.GetPrefix(prefix.Key(0));
        Assert.NotNull(await grain.DescribeAsync());

        await SetAsync(disabled: true);

        Assert.NotNull(await Record.ExceptionAsync(() => grain.DescribeAsync().AsTask())); // by its ticket, or its connection has ended
        await Assert.ThrowsAsync<UnauthorizedAccessException>(() => OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", AcmeSecret));

        await SetAsync(disabled: false);
        await Eventually.TrueAsync("the tenant's own client is back", async () =>
            await Record.ExceptionAsync(async () => Assert.NotNull(await grain.DescribeAsync())) is null);

        async Task SetAsync(bool disabled)
        {
            using var answer = await admin.PutAsJsonAsync("/admin/tenants/acme", new { disabled });
            Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task A_client_activates_so_many_prefixes_and_other_tenants_still_theirs()
    {
        const int Most = 20;
        await using var silo = await SiloProcess.StartAsync(
            Silos.Settings(("KvCache:Orleans:MaxActivations", $"{Most}")) with { GatewayPort = "0" });
        await using var evil = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "evil", EvilSecret);
        await using var acme = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", AcmeSecret);
        var absent = Prefixes.New(Acme with { Tenant = "evil" }, Most + 5);

        var refused = 0;
        for (var block = 0; block < absent.BlockCount; block++)
        {
            if (await Record.ExceptionAsync(() => evil.Grains.GetPrefix(absent.Key(block)).DescribeAsync().AsTask()) is { } e)
            {
                Assert.Contains("MaxActivations", e.Message, StringComparison.Ordinal);
                refused++;
            }
        }

        Assert.Equal(5, refused);
        Assert.Null(await evil.Grains.GetPrefix(absent.Key(0)).DescribeAsync()); // those that are active answer
        var prefix = Prefixes.New(Acme, 1);
        Assert.True(await acme.Grains.GetPrefix(prefix.Key(0)).StoreAsync(Acme, Content.Of(prefix, 0)));
    }

    private static byte[] WithTenant(byte[]? ticket)
    {
        var forged = ticket?.ToArray() ?? new byte[64];
        Span<byte> tenant = stackalloc byte[NamespaceId.Size];
        Acme.Id.CopyTo(tenant);
        tenant[..8].CopyTo(forged);
        return forged;
    }

    /// <summary>Two silos with two tenants; one has a gateway.</summary>
    public sealed partial class Silos : IAsyncLifetime
    {
        internal SiloProcess Open { get; private set; } = null!;

        internal SiloProcess Closed { get; private set; } = null!;

        internal static SiloSettings Settings(params (string Key, string Value)[] more) =>
            new(UseUnix: false,
            Settings: new Dictionary<string, string>(more.Select(setting => KeyValuePair.Create(setting.Key, setting.Value)))
            {
                ["KvCache:Tenants:acme:Secret"] = AcmeSecret,
                ["KvCache:Tenants:evil:Secret"] = EvilSecret,
                ["KvCache:Cluster:Secret"] = "a secret of all the silos",
                ["KvCache:Accounts:ShowLoopback"] = "true",
            });

        public async ValueTask InitializeAsync()
        {
            Open = await SiloProcess.StartAsync(Settings() with { GatewayPort = "0", Arguments = ["--cluster", "localhost"] });
            Closed = await SiloProcess.StartAsync(
                Settings() with { Arguments = ["--cluster", "localhost", "--primary", $"{Open.Ready.SiloPort}"] });
            foreach (var silo in new[] { Open, Closed })
                await Eventually.TrueAsync(
                    "the silos see each other", async () => Metrics.Value(await GetAsync(silo), "kvcache_cluster_peers", "") == 1);
        }

        public async ValueTask DisposeAsync()
        {
            await Closed.DisposeAsync();
            await Open.DisposeAsync();
        }

        internal Task<OrleansClient> ConnectAsync(string tenant, string secret, Action<IClientBuilder>? configure = null) =>
            OrleansClient.StartAsync(Open.Ready.GatewayPort, tenant, secret, configure);

        /// <summary>Stores a block of acme through a silo's data plane.</summary>
        internal static async Task<KvPrefix> StoreAsync(SiloProcess silo)
        {
            await using var client = silo.Connect(configure: options => (options.Tenant, options.Secret) = ("acme", AcmeSecret));
            var prefix = Prefixes.New(Acme, 1);
            await client.MustStoreAsync(prefix);
            return prefix;
        }

        /// <summary>Activations of grains on both silos, by type; Orleans' own system targets apart.</summary>
        internal async Task<Dictionary<string, int>> ActiveGrainsAsync()
        {
            var counts = new Dictionary<string, int>();
            foreach (var silo in new[] { Open, Closed })
            {
                foreach (Match line in Activations().Matches(await GetAsync(silo)))
                    counts[line.Groups["type"].Value] = counts.GetValueOrDefault(line.Groups["type"].Value)
                        + int.Parse(line.Groups["count"].ValueSpan, CultureInfo.InvariantCulture);
            }

            Assert.Contains("prefix", counts.Keys); // that of the victims: the metric is still called so
            return counts;
        }

        internal void AssertHealthy()
        {
            Open.AssertHealthy();
            Closed.AssertHealthy();
        }

        [GeneratedRegex(
            @"^orleans_catalog_activations\{.*grain_type=""(?<type>(?!sys\.)[^""]+)"".*\} (?<count>\d+)", RegexOptions.Multiline)]
        private static partial Regex Activations();

        // Metrics are told again for a moment as they were: what has changed since is fresh.
        private static async Task<string> GetAsync(SiloProcess silo)
        {
            using var http = new HttpClient();
            string? first = null, metrics = null;
            await Eventually.TrueAsync("the silo told its metrics", async () =>
            {
                try
                {
                    metrics = await http.GetStringAsync(new Uri($"{silo.Ready.Http}/metrics"));
                    first ??= metrics;
                    return metrics != first;
                }
                catch (HttpRequestException)
                {
                    return false; // whoever has not proved itself is cut off when the machine is slow
                }
            });
            return metrics!;
        }
    }
}
