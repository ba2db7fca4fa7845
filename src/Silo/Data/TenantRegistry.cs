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

    private readonly IReadOnlyList<byte[]> _decoy = [RandomNumberGenerator.GetBytes(32)];
    private readonly ClusterSecrets _cluster;
    private volatile Known _known;

    public TenantRegistry(IOptions<TenantOptions> options, ClusterSecrets cluster)
    {
        _cluster = cluster;
        HasSecrets = options.Value.Tenants.Count > 0;
        _known = Learn(options.Value.Tenants.ToDictionary(tenant => tenant.Key, tenant => tenant.Value.Secret));
    }

    /// <summary>Makes these the tenants that are let in, from now on. Not for a silo without configured tenants.</summary>
    public void Apply(IReadOnlyDictionary<string, string> secrets) => _known = Learn(secrets);

    /// <summary>Whether tenants are configured; without, whoever reaches the silo is the default tenant.</summary>
    public bool HasSecrets { get; }

    /// <summary>The tenant whose secret a token is, or null. The time it takes tells nothing about the secrets.</summary>
    public string? FindBySecret(ReadOnlySpan<char> token)
    {
        // Digests are of equal length, and which byte of them differs first says nothing about the secret.
        var digest = SHA256.HashData(Encoding.UTF8.GetBytes(token.ToArray()));
        string? found = null;
        foreach (var (tenant, expected) in _known.Digests)
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
    public IReadOnlyList<byte[]> SecretsOf(string tenant) => _known.Secrets.GetValueOrDefault(tenant, _decoy);

    /// <summary>The same for whoever can only be a client.</summary>
    public IReadOnlyList<byte[]> ClientSecretsOf(string tenant) => tenant == WireProtocol.PeerTenant ? _decoy : SecretsOf(tenant);

    private Known Learn(IReadOnlyDictionary<string, string> tenants)
    {
        var secrets = tenants.ToDictionary(tenant => tenant.Key, tenant => (IReadOnlyList<byte[]>)[Encoding.UTF8.GetBytes(tenant.Value)], StringComparer.Ordinal);
        var digests = secrets.Select(secret => (secret.Key, SHA256.HashData(secret.Value[0]))).ToArray();
        if (!HasSecrets)
            secrets.Add(DefaultTenant, [[]]);
        secrets.Add(WireProtocol.PeerTenant, _cluster.All);
        return new Known(secrets, digests);
    }

    private sealed record Known(Dictionary<string, IReadOnlyList<byte[]>> Secrets, (string Tenant, byte[] Digest)[] Digests);
}
