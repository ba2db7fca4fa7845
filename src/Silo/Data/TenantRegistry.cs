using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Data;

/// <summary>Secrets of the tenants, as bytes: those of now, where they come from files.</summary>
internal sealed class TenantRegistry : ILiveFiles
{
    /// <summary>The tenant of a silo without configured tenants.</summary>
    public const string DefaultTenant = "default";

    private readonly Dictionary<string, Func<IReadOnlyList<byte[]>>> _secrets = new(StringComparer.Ordinal);
    private readonly string[] _tenants;
    private readonly List<ILiveFile> _files = [];
    private readonly IReadOnlyList<byte[]> _decoy = [RandomNumberGenerator.GetBytes(32)];

    /// <exception cref="FormatException">A file of secrets cannot be used; the message is one sentence.</exception>
    public TenantRegistry(IOptions<TenantOptions> options, ClusterSecrets cluster)
    {
        _tenants = [.. options.Value.Tenants.Keys];
        foreach (var (name, tenant) in options.Value.Tenants)
            _secrets.Add(name, SourceOf(name, tenant));
        if (_tenants.Length == 0)
            _secrets.Add(DefaultTenant, () => [[]]);
        _secrets.Add(WireProtocol.PeerTenant, () => cluster.All);
    }

    /// <inheritdoc/>
    public IEnumerable<ILiveFile> Files => _files;

    /// <summary>Whether tenants are configured; without, whoever reaches the silo is the default tenant.</summary>
    public bool HasSecrets => _tenants.Length > 0;

    /// <summary>The tenant whose secret a token is, or null. The time it takes tells nothing about the secrets.</summary>
    public string? FindBySecret(ReadOnlySpan<char> token)
    {
        // Digests are of equal length, and which byte of them differs first says nothing about the secret.
        Span<byte> given = stackalloc byte[SHA256.HashSizeInBytes], expected = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(token.ToArray()), given);
        string? found = null;
        foreach (var tenant in _tenants)
        {
            foreach (var secret in SecretsOf(tenant))
            {
                SHA256.HashData(secret, expected);
                if (CryptographicOperations.FixedTimeEquals(given, expected))
                    found = tenant;
            }
        }

        return found;
    }

    /// <summary>
    /// Secrets that are valid for a tenant, or for the silos among themselves. An unknown tenant gets a random one, so that its proof fails like any
    /// wrong proof and names cannot be told from secrets.
    /// </summary>
    public IReadOnlyList<byte[]> SecretsOf(string tenant) => _secrets.TryGetValue(tenant, out var secrets) ? secrets() : _decoy;

    /// <summary>The same for whoever can only be a client.</summary>
    public IReadOnlyList<byte[]> ClientSecretsOf(string tenant) => tenant == WireProtocol.PeerTenant ? _decoy : SecretsOf(tenant);

    private Func<IReadOnlyList<byte[]>> SourceOf(string name, TenantOptions.Tenant tenant)
    {
        if (tenant.SecretFile.Length == 0)
        {
            IReadOnlyList<byte[]> secrets = [.. new[] { tenant.Secret, tenant.OtherSecret }.Where(secret => secret.Length > 0).Select(Encoding.UTF8.GetBytes)];
            return () => secrets;
        }

        var file = SecretFiles.Load($"{TenantOptions.Section}:{name}:SecretFile", tenant.SecretFile, secrets => FindOwner(name, secrets) is { } other
            ? $"it has a secret of the tenant '{other}', so that a token would not tell them apart. Give every tenant secrets of its own."
            : null);
        _files.Add(file);
        return () => file.Value;
    }

    private string? FindOwner(string name, IReadOnlyList<byte[]> secrets) => _secrets.Keys.FirstOrDefault(
        other => other != name && other != WireProtocol.PeerTenant && SecretsOf(other).Any(theirs => secrets.Any(secret => secret.AsSpan().SequenceEqual(theirs))));
}
