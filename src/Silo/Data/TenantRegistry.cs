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

    private readonly Dictionary<string, LiveFile<IReadOnlyList<byte[]>>> _files = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<byte[]> _decoy = [RandomNumberGenerator.GetBytes(32)];
    private readonly ClusterSecrets _cluster;
    private readonly OperatorTokens _operators;
    private volatile Known _known;

    /// <exception cref="FormatException">A secret, or a file of secrets, cannot be used; the message is one sentence.</exception>
    public TenantRegistry(IOptions<TenantOptions> options, ClusterSecrets cluster, OperatorTokens operators)
    {
        _cluster = cluster;
        _operators = operators;
        if (ExplainOtherUse(options.Value.Tenants) is { } problem)
            throw new FormatException(problem);
        HasSecrets = options.Value.Tenants.Count > 0;
        _known = Learn(options.Value.Tenants.Where(tenant => tenant.Value.SecretFile.Length == 0));
        foreach (var (name, tenant) in options.Value.Tenants.Where(tenant => tenant.Value.SecretFile.Length > 0))
        {
            _files.Add(name,
                SecretFiles.Load(
                $"{TenantOptions.Section}:{name}:SecretFile", tenant.SecretFile, check: secrets => FindOwner(name, secrets) is { } other
                ? $"it has a secret of the tenant '{other}', so that a token would not tell them apart. Give every tenant secrets of its "
                    + "own."
                : ExplainOtherUse(name, secrets)));
            _known = Learn(options.Value.Tenants.Where(known => known.Value.SecretFile.Length == 0 || _files.ContainsKey(known.Key)));
        }
    }

    /// <inheritdoc/>
    public IEnumerable<ILiveFile> Files => _files.Values;

    /// <summary>Makes these the tenants that are let in, from now on. Not for a silo without configured tenants.</summary>
    public void Apply(IEnumerable<KeyValuePair<string, TenantOptions.Tenant>> tenants) => _known = Learn(tenants);

    /// <summary>Which tenant has a secret that is somebody else's too, who may do more, in a sentence; null when none has.</summary>
    public string? ExplainOtherUse(IEnumerable<KeyValuePair<string, TenantOptions.Tenant>> tenants) =>
        tenants.Select(tenant => ExplainOtherUse(tenant.Key, BytesOf(tenant.Value))).FirstOrDefault(problem => problem is not null);

    /// <summary>Whether tenants are configured; without, whoever reaches the silo is the default tenant.</summary>
    public bool HasSecrets { get; }

    /// <summary>The tenant whose secret a token is, or null. The time it takes tells nothing about the secrets.</summary>
    public string? FindBySecret(ReadOnlySpan<char> token)
    {
        // Digests are of equal length, and which byte of them differs first says nothing about the secret.
        Span<byte> given = stackalloc byte[SHA256.HashSizeInBytes], expected = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(token.ToArray()), given);
        string? found = null;
        foreach (var tenant in _known.Tenants)
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
    /// Secrets that are valid for a tenant, or for the silos among themselves. An unknown tenant gets a random one, so that its proof fails
    /// like any wrong proof and names cannot be told from secrets.
    /// </summary>
    public IReadOnlyList<byte[]> SecretsOf(string tenant) => _known.Secrets.TryGetValue(tenant, out var secrets) ? secrets() : _decoy;

    /// <summary>The same for whoever can only be a client.</summary>
    public IReadOnlyList<byte[]> ClientSecretsOf(string tenant) => tenant == WireProtocol.PeerTenant ? _decoy : SecretsOf(tenant);

    private Known Learn(IEnumerable<KeyValuePair<string, TenantOptions.Tenant>> tenants)
    {
        var secrets = tenants.ToDictionary(tenant => tenant.Key, tenant => SourceOf(tenant.Key, tenant.Value), StringComparer.Ordinal);
        string[] names = [.. secrets.Keys];
        if (!HasSecrets)
            secrets.Add(DefaultTenant, static () => [[]]);
        secrets.Add(WireProtocol.PeerTenant, () => _cluster.All);
        return new Known(secrets, names);
    }

    // A file is this silo's own: a tenant that has one elsewhere and not here is nobody here.
    private Func<IReadOnlyList<byte[]>> SourceOf(string name, TenantOptions.Tenant tenant)
    {
        if (tenant.SecretFile.Length > 0)
            return _files.TryGetValue(name, out var file) ? () => file.Value : () => _decoy;
        var secrets = BytesOf(tenant);
        return () => secrets;
    }

    private static IReadOnlyList<byte[]> BytesOf(TenantOptions.Tenant tenant) =>
        [.. new[] { tenant.Secret, tenant.OtherSecret }.Where(secret => secret.Length > 0).Select(Encoding.UTF8.GetBytes)];

    private string? ExplainOtherUse(string name, IReadOnlyList<byte[]> secrets)
    {
        foreach (var secret in secrets)
        {
            if (_cluster.All.Knows(secret))
                return $"The secret of tenant '{name}' is that of the silos among themselves, who read every tenant's blocks. Give it "
                    + "another one.";
            var digest = SHA256.HashData(secret);
            if (_operators.Administrator.Knows(digest) || _operators.Scraper.Knows(digest))
                return $"The secret of tenant '{name}' is a token of who runs the silo ({AccountOptions.Section}), which would be worth "
                    + "nothing. Give it another one.";
        }

        return null;
    }

    private string? FindOwner(string name, IReadOnlyList<byte[]> secrets) => _known.Tenants.FirstOrDefault(
        other => other != name && SecretsOf(other).Any(secrets.Knows));

    private sealed record Known(Dictionary<string, Func<IReadOnlyList<byte[]>>> Secrets, string[] Tenants);
}
