using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Data;

/// <summary>Secrets of the tenants, as bytes.</summary>
internal sealed class TenantRegistry
{
    /// <summary>The tenant of a silo without configured tenants.</summary>
    public const string DefaultTenant = "default";

    private readonly Dictionary<string, IReadOnlyList<byte[]>> _secrets;
    private readonly (string Tenant, byte[] Digest)[] _digests;
    private readonly IReadOnlyList<byte[]> _decoy = [RandomNumberGenerator.GetBytes(32)];

    public TenantRegistry(IOptions<TenantOptions> options, ClusterSecrets cluster)
    {
        _secrets = options.Value.Tenants.ToDictionary(t => t.Key, t => (IReadOnlyList<byte[]>)[Encoding.UTF8.GetBytes(t.Value.Secret)], StringComparer.Ordinal);
        _digests = [.. _secrets.Select(secret => (secret.Key, SHA256.HashData(secret.Value[0])))];
        if (_secrets.Count == 0)
            _secrets.Add(DefaultTenant, [[]]);
        _secrets.Add(WireProtocol.PeerTenant, cluster.All);
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
    /// Secrets that are valid for a tenant, or for the silos among themselves. An unknown tenant gets a random one, so that its proof fails like any
    /// wrong proof and names cannot be told from secrets.
    /// </summary>
    public IReadOnlyList<byte[]> SecretsOf(string tenant) => _secrets.GetValueOrDefault(tenant, _decoy);

    /// <summary>The same for whoever can only be a client.</summary>
    public IReadOnlyList<byte[]> ClientSecretsOf(string tenant) => tenant == WireProtocol.PeerTenant ? _decoy : SecretsOf(tenant);
}
