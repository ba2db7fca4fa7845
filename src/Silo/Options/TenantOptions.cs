using System.ComponentModel.DataAnnotations;
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

    /// <summary>One tenant.</summary>
    public sealed class Tenant
    {
        /// <summary>
        /// Shared secret of the tenant's clients, at least 16 bytes of UTF-8 and different for every tenant. It never travels on the data plane; in the HTTP API it
        /// is the bearer token.
        /// </summary>
        [Required]
        public string Secret { get; set; } = "";
    }
}

/// <summary>Checks tenants, and that nothing but loopback is served without secrets.</summary>
internal sealed class TenantOptionsValidator(IOptions<DataPlaneOptions> dataPlane, IOptions<ClusterOptions> cluster) : IValidateOptions<TenantOptions>
{
    public ValidateOptionsResult Validate(string? name, TenantOptions options)
    {
        if (options.Tenants.Count > 0 && cluster.Value is { Mode: not ClusterMode.None, Secret.Length: 0 })
            return ValidateOptionsResult.Fail($"Tenants have secrets, and the silos of the cluster have none among themselves. Set {ClusterOptions.Section}:Secret, the same for every silo.");
        foreach (var (tenant, value) in options.Tenants)
        {
            if (tenant.Length == 0)
                return ValidateOptionsResult.Fail($"A tenant has an empty name; {TenantOptions.Section}:NAME:Secret was expected.");
            if (Encoding.UTF8.GetByteCount(tenant) > CacheNamespace.MaxTextBytes)
                return ValidateOptionsResult.Fail($"A tenant name has at most {CacheNamespace.MaxTextBytes} bytes of UTF-8; '{tenant[..16]}…' is longer.");
            if (Encoding.UTF8.GetByteCount(value.Secret) < TenantOptions.MinSecretBytes)
                return ValidateOptionsResult.Fail($"The secret of tenant '{tenant}' is too short; {TenantOptions.Section}:{tenant}:Secret needs at least {TenantOptions.MinSecretBytes} bytes.");
        }

        if (options.Tenants.GroupBy(tenant => tenant.Value.Secret, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } equal)
            return ValidateOptionsResult.Fail($"The tenants '{string.Join("', '", equal.Select(tenant => tenant.Key))}' have the same secret, so that a token would not tell them apart. Give every tenant a secret of its own.");

        var tcp = dataPlane.Value.Tcp;
        return options.Tenants.Count == 0 && tcp.Length > 0 && IPEndPoint.TryParse(tcp, out var address) && !IPAddress.IsLoopback(address.Address)
            ? ValidateOptionsResult.Fail($"The data plane listens on {tcp}, which other machines can reach, and no tenant has a secret. Set {TenantOptions.Section}:NAME:Secret, or listen on 127.0.0.1.")
            : ValidateOptionsResult.Success;
    }
}
