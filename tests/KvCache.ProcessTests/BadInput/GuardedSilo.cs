namespace KvCache.ProcessTests;

/// <summary>A silo with two tenants and short limits.</summary>
public sealed class GuardedSilo : IAsyncLifetime
{
    public const string Tenant = "acme", Secret = "a secret of sixteen bytes", OtherTenant = "globex", OtherSecret = "another secret, as long";

    private static readonly SiloSettings Settings = new(UseUnix: false, Settings: new Dictionary<string, string>
    {
        ["KvCache:Tenants:acme:Secret"] = Secret,
        ["KvCache:Tenants:globex:Secret"] = OtherSecret,
        ["KvCache:DataPlane:HandshakeTimeout"] = "00:00:01",
        ["KvCache:DataPlane:FrameTimeout"] = "00:00:02",
        ["KvCache:DataPlane:MaxConnections"] = "24",
        ["KvCache:DataPlane:MaxNamespaces"] = "8",
    });

    internal SiloProcess Process { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Process = await SiloProcess.StartAsync(Settings);

    public ValueTask DisposeAsync() => Process.DisposeAsync();

    internal KvCacheClient Connect(string tenant = Tenant, string secret = Secret) => Process.Connect(configure: options =>
    {
        options.Tenant = tenant;
        options.Secret = secret;
    });
}
