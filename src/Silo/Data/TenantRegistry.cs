using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Data;

/// <summary>Secrets of the tenants, as bytes.</summary>
internal sealed class TenantRegistry
{
    /// <summary>The tenant of a silo without configured tenants.</summary>
    public const string DefaultTenant = "default";

    private readonly Dictionary<string, byte[]> _secrets;
    private readonly (string Tenant, byte[] Digest)[] _digests;
    private readonly byte[] _decoy = RandomNumberGenerator.GetBytes(32);

    public TenantRegistry(IOptions<TenantOptions> options, IOptions<ClusterOptions> cluster)
    {
        _secrets = options.Value.Tenants.ToDictionary(t => t.Key, t => Encoding.UTF8.GetBytes(t.Value.Secret), StringComparer.Ordinal);
        _digests = [.. _secrets.Select(secret => (secret.Key, SHA256.HashData(secret.Value)))];
        if (_secrets.Count == 0)
            _secrets.Add(DefaultTenant, []);
        if (cluster.Value.Mode != ClusterMode.None)
            _secrets.Add(WireProtocol.PeerTenant, Encoding.UTF8.GetBytes(cluster.Value.Secret));
    }

    /// <summary>Whether tenants are configured; without, whoever reaches the silo is the default tenant.</summary>
    public bool HasSecrets => _digests.Length > 0;

    /// <summary>The tenant whose secret a token is, or null. The time it takes tells nothing about the secrets.</summary>
    public string? FindBySecret(ReadOnlySpan<char> token)
    {
        // Digests are of equal length, and which byte of them differs first says nothing about the secret.
        var digest = SHA256.HashData(Encoding.UTF8.GetBytes(token.ToArray()));
        string? found = null;
        foreach (var (tenant, expected) in _digests)
        {
            if (CryptographicOperations.FixedTimeEquals(digest, expected))
                found = tenant;
        }

        return found;
    }

    /// <summary>
    /// The tenant's secret. An unknown tenant gets a random one, so that its proof fails like any wrong proof and names cannot
    /// be told from secrets.
    /// </summary>
    public byte[] SecretOf(string tenant) => _secrets.TryGetValue(tenant, out var secret) ? secret : _decoy;
}
