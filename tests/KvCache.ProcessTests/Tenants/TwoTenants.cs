using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using Xunit;

namespace KvCache.ProcessTests.Tenants;

/// <summary>A silo of 64 MiB with a tenant that has four fifths of it, and one that means no good.</summary>
internal static class TwoTenants
{
    public const string AcmeSecret = "a secret of sixteen bytes", EvilSecret = "another secret, as long";

    /// <summary>Blocks of 64 KiB in four layers.</summary>
    public static KvLayout Layout { get; } = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 64, KvDataType.Float16, tokensPerBlock: 32);

    public static Task<SiloProcess> StartAsync(params (string Key, string Value)[] settings)
    {
        var all = new Dictionary<string, string>
        {
            ["KvCache:Accounts:ShowLoopback"] = "true",
            ["KvCache:Tenants:acme:Secret"] = AcmeSecret,
            ["KvCache:Tenants:acme:Share"] = "0.8",
            ["KvCache:Tenants:evil:Secret"] = EvilSecret,
            ["KvCache:Resp:Listen"] = "127.0.0.1:0",
            ["KvCache:LmCache:Listen"] = "127.0.0.1:0",
            ["KvCache:LmCache:Tenant"] = "evil",
            ["KvCache:DataPlane:SharedMemory"] = "true",
        };
        foreach (var (key, value) in settings)
            all[$"KvCache:{key}"] = value;
        return SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true, Settings: all));
    }

    public static KvCacheClient ConnectAs(this SiloProcess silo, string tenant) => silo.Connect(configure: options =>
    {
        options.Tenant = tenant;
        options.Secret = tenant == "acme" ? AcmeSecret : EvilSecret;
    });

    public static KvPrefix Prefix(string tenant, int blocks) => Prefixes.New(Prefixes.Namespace("model", Layout, tenant), blocks);
}
