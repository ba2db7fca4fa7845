using KvCache.Client;
using KvCache.Processes;
using KvCache.Testing;

namespace KvCache.ProcessTests.Security;

/// <summary>Settings of a silo whose ports speak TLS, with certificates of a test's authority.</summary>
internal static class TlsSilo
{
    public const string AcmeSecret = "acme's secret of a test", OtherSecret = "other's secret of a test";

    /// <summary>Settings with a certificate for 127.0.0.1 in the files <c>silo.pem</c> and <c>silo.key</c>.</summary>
    /// <param name="authority">Issues it.</param>
    /// <param name="more">Further settings.</param>
    public static SiloSettings Settings(TestAuthority authority, params (string Key, string Value)[] more)
    {
        var (certificate, key) = authority.Issue("silo");
        var settings = new Dictionary<string, string>
        {
            ["KvCache:Tls:CertificateFile"] = certificate,
            ["KvCache:Tls:KeyFile"] = key,
            ["KvCache:Tls:CaFile"] = authority.CaFile,
            ["KvCache:Reload:Interval"] = "00:00:00.100",
        };
        foreach (var (name, value) in more)
            settings[name] = value;
        return new SiloSettings(
            UseUnix: false, Settings: settings, Http: "https://127.0.0.1:0", Arguments: ["--resp", "127.0.0.1:0", "--lm", "127.0.0.1:0"]);
    }

    /// <summary>Two tenants, and certificates that stand for the first.</summary>
    public static (string Key, string Value)[] Tenants(TestAuthority authority) =>
    [
        ("KvCache:Tenants:acme:Secret", AcmeSecret), ("KvCache:Tenants:other:Secret", OtherSecret), ("KvCache:LmCache:Tenant", "other"),
        ("KvCache:Tls:ClientCaFile", authority.CaFile), ("KvCache:Tls:Clients:0:Name", "engine.acme"),
            ("KvCache:Tls:Clients:0:Tenant", "acme"),
    ];

    /// <summary>Trusts an authority.</summary>
    public static Action<KvCacheClientOptions> Trusting(
        TestAuthority authority, string? name = null, string tenant = "default", string secret = "") => options =>
    {
        options.Tls.CaFile = authority.CaFile;
        options.Tenant = tenant;
        options.Secret = secret;
        if (name is not null)
            (options.Tls.CertificateFile, options.Tls.KeyFile) = authority.Issue(name);
    };
}
