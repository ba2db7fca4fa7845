using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>A silo with two tenants and short limits.</summary>
public sealed class GuardedSilo : IAsyncLifetime
{
    public const string Tenant = "acme", Secret = "a secret of sixteen bytes", OtherTenant = "globex",
        OtherSecret = "another secret, as long";

    private static readonly SiloSettings Settings = new(UseUnix: false, Settings: new Dictionary<string, string>
    {
        ["KvCache:Tenants:acme:Secret"] = Secret,
        ["KvCache:Tenants:globex:Secret"] = OtherSecret,
        ["KvCache:Accounts:ShowLoopback"] = "true",
        ["KvCache:DataPlane:HandshakeTimeout"] = "00:00:01",
        ["KvCache:DataPlane:FrameTimeout"] = "00:00:02",
        ["KvCache:DataPlane:MaxConnections"] = "24",
        ["KvCache:Tenants:acme:MaxConnections"] = "24",
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

/// <summary>Tests of peers that do harm: another one's connection goes on, its blocks stay, and the silo stays well.</summary>
public abstract class GuardedSiloTests(GuardedSilo silo, CacheNamespace ns, int blocks) : IClassFixture<GuardedSilo>, IAsyncLifetime
{
    internal SiloProcess Process => silo.Process;

    protected KvCacheClient Bystander { get; } = silo.Connect();

    /// <summary>What the bystander has stored.</summary>
    protected KvPrefix Stored { get; } = Prefixes.New(ns, blocks);

    public async ValueTask InitializeAsync() => await Bystander.MustStoreAsync(Stored);

    public async ValueTask DisposeAsync()
    {
        await Bystander.MustLoadAsync(Stored);
        await Bystander.DisposeAsync();
        Process.WriteLog();
        Process.AssertHealthy();
        GC.SuppressFinalize(this);
    }
}
