using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Options;

namespace KvCache.Silo;

/// <summary>Secrets of the tenants, as bytes.</summary>
internal sealed class TenantRegistry
{
    /// <summary>The tenant of a silo without configured tenants.</summary>
    public const string DefaultTenant = "default";

    private readonly Dictionary<string, byte[]> _secrets;
    private readonly byte[] _decoy = RandomNumberGenerator.GetBytes(32);

    public TenantRegistry(IOptions<TenantOptions> options, IOptions<ClusterOptions> cluster)
    {
        _secrets = options.Value.Tenants.ToDictionary(t => t.Key, t => Encoding.UTF8.GetBytes(t.Value.Secret), StringComparer.Ordinal);
        if (_secrets.Count == 0)
            _secrets.Add(DefaultTenant, []);
        if (cluster.Value.Mode != ClusterMode.None)
            _secrets.Add(Wire.WireProtocol.PeerTenant, Encoding.UTF8.GetBytes(cluster.Value.Secret));
    }

    /// <summary>
    /// The tenant's secret. An unknown tenant gets a random one, so that its proof fails like any wrong proof and names cannot
    /// be told from secrets.
    /// </summary>
    public byte[] SecretOf(string tenant) => _secrets.TryGetValue(tenant, out var secret) ? secret : _decoy;
}
