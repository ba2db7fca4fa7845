using System.Buffers.Binary;
using System.Net;
using System.Net.Http.Json;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Security;
using KvCache.Silo.LmCache;
using KvCache.Testing;
using Orleans.Connections.Security;

namespace KvCache.ProcessTests;

/// <summary>Every TCP port of a silo with TLS, and those who come with the wrong certificates.</summary>
public sealed class TlsTests : IDisposable
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 100_000, 1_000_000], tokensPerBlock: 16);

    private readonly TestAuthority _authority = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _authority.Dispose();

    [Fact]
    public async Task Blocks_go_through_a_port_with_tls()
    {
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        Assert.StartsWith("tls:127.0.0.1:", silo.Tcp, StringComparison.Ordinal);
        await using var client = silo.Connect(configure: TlsSilo.Trusting(_authority));
        var prefix = Prefixes.New(Prefixes.Namespace("tls", Layout), 5);
        await client.MustStoreAsync(prefix);
        await client.MustLoadAsync(prefix);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Who_does_not_trust_the_silo_is_told_why()
    {
        using var other = new TestAuthority("Other Authority");
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        await using var stranger = silo.Connect(configure: TlsSilo.Trusting(other));
        var error = await Assert.ThrowsAsync<SiloException>(() => stranger.ConnectAsync(Token).AsTask());
        Assert.Contains("does not come from an authority that is trusted here", error.Message, StringComparison.Ordinal);

        await using var strict = silo.Connect(configure: options =>
        {
            TlsSilo.Trusting(_authority)(options);
            options.Tls.ServerName = "cache.example";
        });
        error = await Assert.ThrowsAsync<SiloException>(() => strict.ConnectAsync(Token).AsTask());
        Assert.Contains("another name than cache.example", error.Message, StringComparison.Ordinal);

        await using var plain =
            silo.Connect(silo.Tcp.Replace("tls:", "tcp:", StringComparison.Ordinal), SiloCluster.Within(TimeSpan.FromSeconds(10)));
        Assert.False(await plain.ConnectAsync(Token));
        await using var client = silo.Connect(configure: TlsSilo.Trusting(_authority));
        Assert.True(await client.ConnectAsync(Token));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task A_certificate_stands_for_its_tenant_and_no_other_on_every_port()
    {
        await using var silo =
            await SiloProcess.StartAsync(TlsSilo.Settings(_authority, TlsSilo.Tenants(_authority)) with { GatewayPort = "0" });
        var prefix = Prefixes.New(Prefixes.Namespace("tls", Layout, "acme"), 2);
        await using (var acme = silo.Connect(configure: TlsSilo.Trusting(_authority, "engine.acme", "acme")))
        {
            await acme.MustStoreAsync(prefix);
            await acme.MustLoadAsync(prefix);
        }

        await using (var thief = silo.Connect(configure: TlsSilo.Trusting(_authority, "engine.acme", "other", TlsSilo.OtherSecret)))
            await Assert.ThrowsAsync<SiloException>(() => thief.ConnectAsync(Token).AsTask());

        // A certificate that stands for nobody opens the door, and the secret says who comes.
        await using (var secretive = silo.Connect(configure: TlsSilo.Trusting(_authority, "visitor", "acme", TlsSilo.AcmeSecret)))
            await secretive.MustLoadAsync(prefix);
        await using (var nobody = silo.Connect(configure: TlsSilo.Trusting(_authority, "visitor", "acme")))
            await Assert.ThrowsAsync<SiloException>(() => nobody.ConnectAsync(Token).AsTask());
        await using (var bare = silo.Connect(configure: options =>
        {
            TlsSilo.Trusting(_authority, null, "acme", TlsSilo.AcmeSecret)(options);
            SiloCluster.Within(TimeSpan.FromSeconds(10))(options);
        }))
            Assert.False(await bare.ConnectAsync(Token));

        // The same certificate at the Redis endpoint, over HTTP and at the lm:// endpoint.
        var (certificate, key) = _authority.Issue("engine.acme");
        var redis = await RedisCliAsync(silo, "--cert", certificate, "--key", key, "SET", "k", "v");
        Assert.Equal("OK\n", redis.Output);
        Assert.Contains(
            "WRONGPASS", (await RedisCliAsync(silo, "--cert", certificate, "--key", key, "AUTH", "other", TlsSilo.OtherSecret)).Output,
            StringComparison.Ordinal);
        using var http = Https(silo, X509Certificate2.CreateFromPemFile(certificate, key));
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri("/v1/stats", UriKind.Relative), Token)).StatusCode);
        var (visitor, visitorKey) = _authority.Issue("visitor");
        using var without = Https(silo, X509Certificate2.CreateFromPemFile(visitor, visitorKey));
        Assert.Equal(HttpStatusCode.Unauthorized, (await without.GetAsync(new Uri("/v1/stats", UriKind.Relative), Token)).StatusCode);

        // Behind the gateway the secret counts; a certificate opens the door to it.
        using var visiting = X509Certificate2.CreateFromPemFile(visitor, visitorKey);
        await using var orleans = await OrleansClient.StartAsync(silo.Ready.GatewayPort, "acme", TlsSilo.AcmeSecret, client => client.UseTls(
            visiting, tls => tls.OnAuthenticateAsClient = (_, handshake) =>
            {
                var ssl = (SslClientAuthenticationOptions)handshake.SslClientAuthenticationOptions;
                ssl.TargetHost = "127.0.0.1";
                ssl.CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    RevocationMode = X509RevocationMode.NoCheck,
                };
                ssl.CertificateChainPolicy.CustomTrustStore.ImportFromPemFile(_authority.CaFile);
            }));
        Assert.NotNull(await orleans.Grains.GetPrefix(prefix.Key(0)).DescribeAsync());
        await using var plain = OrleansClient.Create(silo.Ready.GatewayPort, "acme", TlsSilo.AcmeSecret);
        Assert.NotNull(await Record.ExceptionAsync(() => plain.StartAsync(TimeSpan.FromSeconds(3))));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task The_certificate_of_a_disabled_tenant_is_worth_nothing_at_once()
    {
        const string AdminToken = "the administrator's token";
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(
            _authority,
            [.. TlsSilo.Tenants(_authority), ("KvCache:Accounts:AdminToken", AdminToken),
                ("KvCache:Accounts:File", Path.Combine(_authority.Folder, "tenants.json"))]));
        var (certificate, key) = _authority.Issue("engine.acme");
        using var acme = Https(silo, X509Certificate2.CreateFromPemFile(certificate, key));
        var (visitor, visitorKey) = _authority.Issue("visitor");
        using var admin = Https(silo, X509Certificate2.CreateFromPemFile(visitor, visitorKey));
        admin.DefaultRequestHeaders.Authorization = new("Bearer", AdminToken);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync());

        foreach (var (disabled, expected) in new[] { (true, HttpStatusCode.Forbidden), (false, HttpStatusCode.OK) })
        {
            using var answer = await admin.PutAsJsonAsync("/admin/tenants/acme", new { disabled }, Token);
            Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Token));
            Assert.Equal(expected, await StatusAsync()); // on the connection that it had
            await using var client = silo.Connect(configure: TlsSilo.Trusting(_authority, "engine.acme", "acme"));
            var isLetIn = await Record.ExceptionAsync(async () => Assert.True(await client.ConnectAsync(Token))) is null;
            Assert.Equal(!disabled, isLetIn);
            var redis = await RedisCliAsync(silo, "--cert", certificate, "--key", key, "GET", "k");
            Assert.Equal(disabled, redis.Output.Trim().Length > 0 || redis.ExitCode != 0);
        }

        silo.AssertHealthy();

        async Task<HttpStatusCode> StatusAsync()
        {
            using var answer = await acme.GetAsync(new Uri("/v1/stats", UriKind.Relative), Token);
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task Redis_clients_speak_tls_and_plain_ones_are_refused()
    {
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        Assert.Equal("OK\n", (await RedisCliAsync(silo, "SET", "key", new string('x', 100_000))).Output);
        Assert.Equal(100_000, (await RedisCliAsync(silo, "GET", "key")).Output.TrimEnd().Length);
        using var other = new TestAuthority("Other Authority");
        var refused =
            await RunAsync("redis-cli", "-h", "127.0.0.1", "-p", Port(silo.Ready.Resp), "--tls", "--cacert", other.CaFile, "PING");
        Assert.DoesNotContain("PONG", refused.Output, StringComparison.Ordinal);
        Assert.DoesNotContain(
            "PONG", (await RunAsync("redis-cli", "-h", "127.0.0.1", "-p", Port(silo.Ready.Resp), "PING")).Output, StringComparison.Ordinal);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task The_lm_endpoint_speaks_tls()
    {
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        var address = IPEndPoint.Parse(silo.Ready.LmCache);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 60_000 };
        await socket.ConnectAsync(address, Token);
        using var channel =
            new TlsChannel(
            socket, stream => new TlsClient(Certificates.LoadAuthorities("Ca", _authority.CaFile)).Authenticate(stream, "127.0.0.1"));
        channel.Handshake();
        var request = new byte[LmCacheHeader.RequestBytes];
        BinaryPrimitives.WriteInt32LittleEndian(request, (int)LmCacheCommand.Health);
        channel.SendAll(request, default, default);
        Assert.True(channel.Receive(new byte[LmCacheHeader.ReplyBytes]) > 0);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task The_http_api_speaks_tls_beside_plain_health_on_loopback()
    {
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        using var http = Https(silo);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri("/readyz", UriKind.Relative), Token)).StatusCode);
        using var other = new TestAuthority("Other Authority");
        using var stranger = Https(silo, trusted: other);
        await Assert.ThrowsAsync<HttpRequestException>(() => stranger.GetAsync(new Uri("/readyz", UriKind.Relative), Token));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Silos_speak_tls_with_each_other_on_all_ports()
    {
        await using var cluster = await SiloCluster.StartAsync(2, settings: TlsSilo.Settings(_authority, TlsSilo.Tenants(_authority)) with
        {
            Settings = new Dictionary<string, string>(
                TlsSilo.Settings(_authority, TlsSilo.Tenants(_authority)).Settings!)
            {
                ["KvCache:Cluster:Secret"] =
                "secret of the cluster's silos"
            },
            Http = "http://127.0.0.1:0",
        });
        var prefix = Prefixes.New(Prefixes.Namespace("tls", Layout, "acme"), 3);
        await using var first = cluster.Connect(0, TlsSilo.Trusting(_authority, "engine.acme", "acme"));
        await using var second = cluster.Connect(1, TlsSilo.Trusting(_authority, "engine.acme", "acme"));
        await first.MustStoreAsync(prefix);
        await Eventually.TrueAsync("the other silo finds the blocks", async () => await second.LoadsAsync(prefix));

        // Neither Orleans port says anything to who speaks no TLS, or shows no certificate.
        // the gateway is closed unless asked for
        foreach (var port in new[] { cluster[0].Ready.SiloPort, cluster[0].Ready.GatewayPort }.Where(port => port > 0))
        {
            using var plain = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 60_000 };
            await plain.ConnectAsync(IPAddress.Loopback, port, Token);
            plain.Send(new byte[64]);
            Assert.Equal(0, Ended(() => plain.Receive(new byte[64])));

            using var bare = new TcpClient { ReceiveTimeout = 60_000 };
            await bare.ConnectAsync(IPAddress.Loopback, port, Token);
            await using var stream = new SslStream(bare.GetStream(), false, (_, _, _, _) => true);
            Assert.Equal(0, Ended(() =>
            {
                stream.AuthenticateAsClient("localhost");
                return stream.Read(new byte[64]);
            }));
        }

        cluster.AssertHealthy();
    }

    [Fact]
    public async Task Who_is_silent_ahead_of_tls_has_few_places_at_orleans_ports_too()
    {
        const int Most = 16;
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(
            _authority,
            [.. TlsSilo.Tenants(_authority), ("KvCache:Cluster:Secret", "secret of the cluster's silos"),
                ("KvCache:Orleans:MaxUnprovenPerAddress", $"{Most}")]) with
        {
            GatewayPort = "0",
        });
        foreach (var port in new[] { silo.Ready.SiloPort, silo.Ready.GatewayPort })
        {
            var sockets = new List<Socket>();
            var before = silo.OpenFiles;
            for (var i = 0; i < 8 * Most; i++)
            {
                var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 60_000 };
                sockets.Add(socket);
                await socket.ConnectAsync(IPAddress.Loopback, port, Token);
                socket.Send([0x16, 3, 1]); // TLS begins
            }

            await Eventually.TrueAsync("the oldest have lost their places", () => silo.OpenFiles < before + (3 * Most));
            Assert.Equal(0, Ended(() => sockets[0].Receive(new byte[1])));
            sockets.ForEach(socket => socket.Dispose());
        }

        Assert.False(silo.HasExited);
    }

    [Fact]
    public async Task Python_speaks_tls_and_shows_its_certificate()
    {
        var python = FindPackage();
        Assert.SkipWhen(python is null, "There is no folder python above this program.");
        using var other = new TestAuthority("Other Authority");
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority, TlsSilo.Tenants(_authority)));
        var (certificate, key) = _authority.Issue("engine.acme");
        var script = Path.Combine(AppContext.BaseDirectory, "Security", "tls_client.py");
        var start = new System.Diagnostics.ProcessStartInfo(
            "python3", ["-B", script, silo.Tcp, _authority.CaFile, certificate, key, other.CaFile]);
        start.Environment["PYTHONPATH"] = python;
        var result = await ProgramResult.RunAsync(start, Eventually.Bound);
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("python speaks tls", result.Output, StringComparison.Ordinal);
        silo.AssertHealthy();
    }

    private static string? FindPackage()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "KvCache.sln")))
                return Path.Combine(folder.FullName, "python");
        }

        return null;
    }

    private static int Ended(Func<int> read)
    {
        try
        {
            return read();
        }
        catch (Exception e)
            when (e is SocketException { SocketErrorCode: SocketError.ConnectionReset } or IOException or AuthenticationException)
        {
            return 0;
        }
    }

    private static string Port(string address) => address[(address.LastIndexOf(':') + 1)..];

    private static Task<ProgramResult> RunAsync(string program, params string[] arguments) =>
        ProgramResult.RunAsync(new(program, arguments), Eventually.Bound);

    private Task<ProgramResult> RedisCliAsync(SiloProcess silo, params string[] arguments) =>
        RunAsync("redis-cli", ["-h", "127.0.0.1", "-p", Port(silo.Ready.Resp), "--tls", "--cacert", _authority.CaFile, .. arguments]);

    private HttpClient Https(SiloProcess silo, X509Certificate2? certificate = null, TestAuthority? trusted = null)
    {
        var handler = new SocketsHttpHandler();
        handler.SslOptions.CertificateChainPolicy =
            new X509ChainPolicy { RevocationMode = X509RevocationMode.NoCheck, TrustMode = X509ChainTrustMode.CustomRootTrust };
        handler.SslOptions.CertificateChainPolicy.CustomTrustStore.ImportFromPemFile((trusted ?? _authority).CaFile);
        if (certificate is not null)
            handler.SslOptions.ClientCertificates = [certificate];
        return new HttpClient(handler) { BaseAddress = new Uri(silo.Ready.Http), Timeout = Eventually.Bound };
    }
}
