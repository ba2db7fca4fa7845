using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Options;

/// <summary>Who may use the cache. Bound from <c>KvCache:Tenants</c>: one entry a tenant, <c>KvCache:Tenants:acme:Secret</c>.</summary>
internal sealed class TenantOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Tenants";

    /// <summary>Shortest secret, in bytes.</summary>
    public const int MinSecretBytes = 16;

    /// <summary>
    /// Tenants by name. Default none: then the single tenant <c>default</c> exists with an empty secret, and the silo listens
    /// on loopback and Unix sockets only.
    /// </summary>
    public Dictionary<string, Tenant> Tenants { get; } = new(StringComparer.Ordinal);

    /// <summary>What is wrong with tenants, in a sentence; null when nothing is.</summary>
    internal static string? Explain(IReadOnlyDictionary<string, Tenant> tenants)
    {
        foreach (var (name, tenant) in tenants)
        {
            if (name.Length == 0)
                return $"A tenant has an empty name; {Section}:NAME:Secret was expected.";
            if (Encoding.UTF8.GetByteCount(name) > CacheNamespace.MaxTextBytes)
                return $"A tenant name has at most {CacheNamespace.MaxTextBytes} bytes of UTF-8; '{name[..16]}…' is longer.";
            if (name.Any(char.IsControl))
                return $"The tenant name '{string.Concat(name.Where(letter => !char.IsControl(letter)))}' has control characters; "
                    + "text was expected.";
            if (tenant.SecretFile.Length > 0 && (tenant.Secret.Length > 0 || tenant.OtherSecret.Length > 0))
                return $"{Section}:{name} has a Secret and a SecretFile; one of them was expected.";
            if (tenant.OtherSecret.Length > 0 && Encoding.UTF8.GetByteCount(tenant.OtherSecret) < MinSecretBytes)
                return $"{Section}:{name}:OtherSecret is too short; at least {MinSecretBytes} bytes were expected.";
            if (tenant.SecretFile.Length == 0 && Encoding.UTF8.GetByteCount(tenant.Secret) < MinSecretBytes)
                return $"The secret of tenant '{name}' is too short; {Section}:{name}:Secret needs at least {MinSecretBytes} bytes.";
            if (tenant.Share is not (>= 0 and <= 1))
                return $"{Section}:{name}:Share is {Number(tenant.Share)}; 0 to 1 was expected.";
            if (tenant.MaxShare is not (> 0 and <= 1) || tenant.MaxShare < tenant.Share)
                return $"{Section}:{name}:MaxShare is {Number(tenant.MaxShare)}; more than 0, at least Share ({Number(tenant.Share)}), "
                    + "and at most 1 was expected.";
            if (tenant.PinShare is { } pins && pins is not (>= 0 and <= 0.95))
                return $"{Section}:{name}:PinShare is {Number(pins)}; 0 to 0.95 was expected.";
            if (tenant.MaxConnections < 0)
                return $"{Section}:{name}:MaxConnections is {tenant.MaxConnections}; 0 (its part) or more was expected.";
        }

        if (tenants.Keys.GroupBy(TenantId.Of).FirstOrDefault(group => group.Count() > 1) is { } same)
            return $"The tenants '{string.Join("', '", same)}' have the same id ({same.Key}), so that keys would not tell them apart. "
                + "Rename one of them.";
        var shares = tenants.Values.Sum(tenant => tenant.Share);
        if (shares > 1 + 1e-9)
            return $"The tenants' shares are {Number(shares)} together; at most 1 can be guaranteed. Lower {Section}:NAME:Share.";
        var secrets =
            tenants.SelectMany(
            tenant => new[] { tenant.Value.Secret, tenant.Value.OtherSecret }.Where(secret => secret.Length > 0)
            .Select(secret => (Tenant: tenant.Key, Secret: secret)));
        return secrets.GroupBy(secret => secret.Secret, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } equal
            ? $"The tenants '{string.Join("', '", equal.Select(secret => secret.Tenant))}' have the same secret, so that a token would "
                + "not tell them apart. Give every tenant a secret of its own."
            : null;
    }

    private static string Number(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);

    /// <summary>One tenant.</summary>
    public sealed class Tenant
    {
        /// <summary>
        /// Shared secret of the tenant's clients, at least 16 bytes of UTF-8 and different for every tenant. It never travels on the data
        /// plane; in the HTTP API it is the bearer token.
        /// </summary>
        public string Secret { get; set; } = "";

        /// <summary>A second secret that is valid too, while the secret is exchanged. Default empty: there is none.</summary>
        public string OtherSecret { get; set; } = "";

        /// <summary>File with the secret, and with the second one in a second line, instead of the two settings. Default empty. Read again
        /// when it changes.</summary>
        public string SecretFile { get; set; } = "";

        /// <summary>
        /// Share of every silo's arena that other tenants' blocks never take from this one, 0 to 1. Default 0; all tenants' shares are 1
        /// together at most. What is not used is lent
        /// to the others, and comes back when it is wanted.
        /// </summary>
        public double Share { get; set; }

        /// <summary>Largest share of the arena that the tenant may take, lent memory included, 0 to 1. Default 1.</summary>
        public double MaxShare { get; set; } = 1;

        /// <summary>Largest share of the arena that its pinned blocks may take. Default: <c>Store:MaxPinnedShare</c> of its part.</summary>
        public double? PinShare { get; set; }

        /// <summary>Connections that it may have at each endpoint of a silo. Default 0: its part of the endpoint's <c>MaxConnections</c>,
        /// at least 8.</summary>
        public int MaxConnections { get; set; }
    }
}

/// <summary>Checks tenants, and that nothing but loopback is served without secrets.</summary>
internal sealed class TenantOptionsValidator(IOptions<DataPlaneOptions> dataPlane, IOptions<ClusterOptions> cluster)
    : IValidateOptions<TenantOptions>
{
    public ValidateOptionsResult Validate(string? name, TenantOptions options)
    {
        if (options.Tenants.Count > 0 && cluster.Value is { Mode: not ClusterMode.None, Secret.Length: 0, SecretFile.Length: 0 })
            return ValidateOptionsResult.Fail(
                $"Tenants have secrets, and the silos of the cluster have none among themselves. Set {ClusterOptions.Section}:Secret, the "
                + "same for every silo.");
        if (TenantOptions.Explain(options.Tenants) is { } reason)
            return ValidateOptionsResult.Fail(reason);
        var tcp = dataPlane.Value.Tcp;
        return options.Tenants.Count == 0 && tcp.Length > 0 && ListenAddress.TryParse(tcp, out var address)
            && !IPAddress.IsLoopback(address.Address)
            ? ValidateOptionsResult.Fail(
                $"The data plane listens on {tcp}, which other machines can reach, and no tenant has a secret. Set "
                + $"{TenantOptions.Section}:NAME:Secret, or listen on 127.0.0.1.")
            : ValidateOptionsResult.Success;
    }
}
