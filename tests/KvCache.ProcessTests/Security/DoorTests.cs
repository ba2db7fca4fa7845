using System.Diagnostics;
using KvCache.Engine.Wire;
using KvCache.Orleans.Access;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Security;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Orleans' ports themselves: nothing of Orleans is read before a proof.</summary>
public sealed class DoorTests(DoorTests.OneSilo fixture) : IClassFixture<DoorTests.OneSilo>
{
    private const string AcmeSecret = "a secret of the tenant acme", FewSecret = "a secret of the tenant few",
        ClusterSecret = "a secret of all the silos";

    [Fact]
    public async Task The_right_secret_opens_its_own_port_only()
    {
        Assert.NotEmpty((await ProveAsync(Gateway, OrleansDoor.Gateway, "acme", AcmeSecret)).Bytes);
        Assert.Empty((await ProveAsync(Silo, OrleansDoor.Silo, "", ClusterSecret)).Bytes);

        foreach (var (port, door, name, secret) in new[]
        {
            (Gateway, OrleansDoor.Gateway, "acme", "a secret of somebody else"),
            (Gateway, OrleansDoor.Gateway, "nobody", AcmeSecret),
            (Gateway, OrleansDoor.Gateway, "", ClusterSecret),
            (Gateway, OrleansDoor.Gateway, WireProtocol.PeerTenant, ClusterSecret),
            (Gateway, OrleansDoor.Silo, "", ClusterSecret),
            (Silo, OrleansDoor.Silo, "", "a secret of somebody else"),
            (Silo, OrleansDoor.Silo, "acme", AcmeSecret),
            (Silo, OrleansDoor.Gateway, "acme", AcmeSecret),
        })
            Assert.True(await Record.ExceptionAsync(() => ProveAsync(port, door, name, secret)) is IOException,
                $"{name} at {door} with '{secret}'");
        fixture.Process.AssertHealthy();
    }

    [Fact]
    public async Task A_proof_that_was_overheard_opens_nothing()
    {
        using var honest = await RawDoor.ConnectAsync(Gateway);
        await honest.ProveAsync(OrleansDoor.Gateway, "acme", AcmeSecret);
        using var replay = await RawDoor.ConnectAsync(Gateway);

        await replay.SendAsync(honest.Writes[0]);
        Assert.Equal(32, (await replay.ReadAsync(32)).Length);
        await replay.SendAsync(honest.Writes[1]);

        Assert.Equal([0], await replay.ReadAsync(100));
    }

    [Fact]
    public async Task Whoever_is_silent_or_sends_something_else_is_gone_after_a_while_and_keeps_nobody_out()
    {
        foreach (var port in new[] { Gateway, Silo })
        {
            var began = Stopwatch.GetTimestamp();
            var silent = new List<RawDoor>();
            for (var i = 0; i < 2 * OneSilo.MaxUnproven; i++)
                silent.Add(await RawDoor.ConnectAsync(port));
            using var http = await RawDoor.ConnectAsync(port);
            await http.SendAsync("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nand more than a hello has"u8.ToArray());

            await (port == Gateway
                ? ProveAsync(port, OrleansDoor.Gateway, "acme", AcmeSecret)
                : ProveAsync(port, OrleansDoor.Silo, "", ClusterSecret));

            Assert.Empty(await http.ReadAsync(1));
            foreach (var door in silent)
            {
                Assert.Empty(await door.ReadAsync(1));
                door.Dispose();
            }

            Report.Line($"all were gone after {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s");
        }

        // However many there were, they have filled a few lines.
        Assert.InRange(fixture.Process.Log.Split('\n').Count(line => line.Contains("was turned away", StringComparison.Ordinal)), 1, 60);
        fixture.Process.AssertHealthy();
    }

    [Theory]
    [InlineData(OrleansDoor.Gateway, "acme", AcmeSecret)]
    [InlineData(OrleansDoor.Silo, "", ClusterSecret)]
    public async Task Silent_connections_of_other_addresses_take_nobodys_place(object door, string name, string secret)
    {
        var port = (OrleansDoor)door == OrleansDoor.Gateway ? Gateway : Silo;
        var silent = new List<RawDoor>();
        using var slow = await RawDoor.ConnectAsync(port); // has waited the longest
        for (var i = 0; i < 3 * OneSilo.MaxUnproven; i++)
            silent.Add(await RawDoor.ConnectAsync(port, $"127.0.0.{2 + (i % 4)}"));

        await slow.ProveAsync((OrleansDoor)door, name, secret);

        silent.ForEach(one => one.Dispose());
        fixture.Process.AssertHealthy();
    }

    [Fact]
    public async Task A_silo_that_came_before_is_let_in_while_more_strangers_than_there_are_places_wait()
    {
        await ProveAsync(Silo, OrleansDoor.Silo, "", ClusterSecret);
        var silent = new List<RawDoor>();
        using var peer = await RawDoor.ConnectAsync(Silo);
        for (var i = 0; i < 3 * OneSilo.MaxUnproven; i++)
            silent.Add(await RawDoor.ConnectAsync(Silo, $"127.0.1.{1 + i}")); // an address each: among strangers the oldest goes

        await peer.ProveAsync(OrleansDoor.Silo, "", ClusterSecret);

        silent.ForEach(one => one.Dispose());
        fixture.Process.AssertHealthy();
    }

    [Fact]
    public async Task A_tenant_has_its_number_of_connections_at_the_gateway()
    {
        var clients = new Queue<OrleansClient>();
        try
        {
            for (var i = 0; i < OneSilo.MaxConnections; i++)
                clients.Enqueue(await OrleansClient.StartAsync(Gateway, "few", FewSecret));
            await using (var more = OrleansClient.Create(Gateway, "few", FewSecret))
                Assert.NotNull(await Record.ExceptionAsync(() => more.StartAsync(TimeSpan.FromSeconds(5))));
            await clients.Dequeue().DisposeAsync();
            clients.Enqueue(await OrleansClient.StartAsync(Gateway, "few", FewSecret));
        }
        finally
        {
            foreach (var client in clients)
                await client.DisposeAsync();
        }
    }

    [Fact]
    public async Task Wrong_proofs_are_slowed_and_told_in_the_audit_log_and_right_ones_never_wait()
    {
        var began = Stopwatch.GetTimestamp();
        for (var i = 0; i < 7; i++)
            Assert.IsType<DoorRefusedException>(
                await Record.ExceptionAsync(() => ProveAsync(Gateway, OrleansDoor.Gateway, "guessed", $"a secret that is a guess {i}")));
        Assert.True(Stopwatch.GetElapsedTime(began) > TimeSpan.FromMilliseconds(50 + 100 + 200 + 400));
        Assert.Contains("Refused proof at Orleans' Gateway port", fixture.Process.Log, StringComparison.Ordinal);
    }

    private int Gateway => fixture.Process.Ready.GatewayPort;

    private int Silo => fixture.Process.Ready.SiloPort;

    private static async Task<DoorTicket> ProveAsync(int port, OrleansDoor door, string name, string secret)
    {
        using var raw = await RawDoor.ConnectAsync(port);
        return await raw.ProveAsync(door, name, secret);
    }

    /// <summary>A silo with a gateway.</summary>
    public sealed class OneSilo : IAsyncLifetime
    {
        internal const int MaxUnproven = 20, MaxConnections = 3;

        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() =>
            Process = await SiloProcess.StartAsync(
            new SiloSettings(
            UseUnix: false, GatewayPort: "0", Arguments: ["--cluster", "localhost"], Settings: new Dictionary<string, string>
            {
                ["KvCache:Tenants:acme:Secret"] = AcmeSecret,
                ["KvCache:Tenants:few:Secret"] = FewSecret,
                ["KvCache:Tenants:few:MaxConnections"] = $"{MaxConnections}",
                ["KvCache:Cluster:Secret"] = ClusterSecret,
                ["KvCache:Orleans:HandshakeTimeout"] = "00:00:02",
                ["KvCache:Orleans:MaxUnproven"] = $"{MaxUnproven}",
            }));

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
