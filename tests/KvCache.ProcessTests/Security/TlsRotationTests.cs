using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.Security;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Certificates are replaced while a silo serves; wrong ones are told in a sentence.</summary>
public sealed class TlsRotationTests : IDisposable
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 100_000, 400_000], tokensPerBlock: 16);

    private readonly TestAuthority _authority = new();

    public void Dispose() => _authority.Dispose();

    [Fact]
    public async Task A_certificate_is_replaced_under_load_without_a_failed_call()
    {
        await using var silo = await SiloProcess.StartAsync(TlsSilo.Settings(_authority));
        var ns = Prefixes.Namespace("tls", Layout);
        var prefixes = Enumerable.Range(0, 2).Select(_ => Prefixes.New(ns, 4)).ToArray();
        await using var client = silo.Connect(configure: TlsSilo.Trusting(_authority));
        foreach (var prefix in prefixes)
            await client.MustStoreAsync(prefix);
        await using var load =
            await Load.StartAsync(prefixes.Select(_ => silo.Connect(configure: TlsSilo.Trusting(_authority))), i => prefixes[i]);
        Assert.Equal("CN=silo", await ShownAsync(silo));

        _authority.Issue("silo of next year", "silo");
        await Eventually.TrueAsync("new connections see the new certificate", async () => await ShownAsync(silo) == "CN=silo of next year");
        await load.MoreHitsAsync("the load goes on", 20);

        // A wrong one changes nothing, and is told.
        _authority.Issue("silo of last year", "silo", notAfter: DateTimeOffset.UtcNow.AddDays(-1));
        await Eventually.TrueAsync("the wrong certificate is told", () => silo.Log.Contains("has expired on", StringComparison.Ordinal));
        Assert.Equal("CN=silo of next year", await ShownAsync(silo));
        await load.MoreHitsAsync("the load goes on", 20);
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
    }

    [Fact]
    public async Task Certificates_that_cannot_be_used_end_the_start_with_a_sentence()
    {
        using var other = new TestAuthority("Other Authority");
        var (certificate, key) = _authority.Issue("silo");
        var (expired, expiredKey) = _authority.Issue("expired", notAfter: DateTimeOffset.UtcNow.AddDays(-1));
        var (foreign, foreignKey) = other.Issue("foreign");
        await RefusedAsync("does not fit the certificate", ("CertificateFile", certificate), ("KeyFile", foreignKey));
        await RefusedAsync("has expired on", ("CertificateFile", expired), ("KeyFile", expiredKey));
        await RefusedAsync(
            "does not come from an authority of the CA file", ("CertificateFile", foreign), ("KeyFile", foreignKey),
            ("CaFile", _authority.CaFile));
        await RefusedAsync("'/nowhere/silo.pem' cannot be opened: No such file", ("CertificateFile", "/nowhere/silo.pem"));
        await RefusedAsync("contains no certificate", ("CertificateFile", certificate), ("KeyFile", key), ("CaFile", key));
        await RefusedAsync(
            "no such tenant", ("CertificateFile", certificate), ("KeyFile", key), ("ClientCaFile", _authority.CaFile),
            ("Clients:0:Name", "a"), ("Clients:0:Tenant", "nobody"));
        await RefusedAsync("CertificateFile is empty", ("KeyFile", key));
    }

    private static async Task RefusedAsync(string sentence, params (string Key, string Value)[] settings)
    {
        var start = ProgramCommand.Silo(
            ["--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0", "--gateway-port", "0"],
            settings.ToDictionary(setting => $"KvCache:Tls:{setting.Key}", setting => setting.Value));
        var result = await ProgramResult.RunAsync(start, Eventually.Bound);
        Assert.Equal(2, result.ExitCode);
        var line = Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains(sentence, line, StringComparison.Ordinal);
    }

    // The certificate that a new connection to the data plane is shown.
    private static async Task<string> ShownAsync(SiloProcess silo)
    {
        var address = IPEndPoint.Parse(silo.Tcp["tls:".Length..]);
        using var tcp = new TcpClient();
        await tcp.ConnectAsync(address);
        await using var stream = new SslStream(tcp.GetStream(), false, (_, _, _, _) => true);
        await stream.AuthenticateAsClientAsync("localhost");
        return ((X509Certificate2)stream.RemoteCertificate!).Subject;
    }
}
