using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using KvCache.Silo.Values;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Resp;

/// <summary>Who speaks Redis' protocol: a user is a tenant, its password the tenant's secret.</summary>
internal sealed class RespTenants(TenantRegistry registry, IOptions<TenantOptions> tenants, IOptions<RespOptions> options)
{
    private readonly ConcurrentDictionary<string, NamespaceId> _namespaces = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, KeyLocks> _locks = new(StringComparer.Ordinal);

    /// <summary>Whether a connection has to authenticate before it may do anything.</summary>
    public bool NeedSecrets => tenants.Value.Tenants.Count > 0;

    /// <summary>The user of an AUTH without one: the only tenant, or the one named <c>default</c>.</summary>
    public string ImpliedUser => tenants.Value.Tenants.Count == 1 ? tenants.Value.Tenants.Keys.Single() : TenantRegistry.DefaultTenant;

    /// <summary>Namespace of a tenant's values.</summary>
    public NamespaceId NamespaceOf(string tenant) => _namespaces.GetOrAdd(tenant, name => new CacheNamespace
    {
        Tenant = name,
        Model = options.Value.Model,
        Layout = ValueBlocks.NamespaceLayout,
    }.Id);

    /// <summary>Locks of a tenant's keys.</summary>
    public KeyLocks LocksOf(string tenant) => _locks.GetOrAdd(tenant, _ => new KeyLocks());

    /// <summary>Checks a password in a time that says nothing about it.</summary>
    public bool Accepts(string tenant, ReadOnlySpan<byte> password)
    {
        if (!NeedSecrets)
            return tenant == TenantRegistry.DefaultTenant; // like Redis' user without a password: any one will do
        Span<byte> given = stackalloc byte[SHA256.HashSizeInBytes], expected = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(password, given);
        var accepted = false;
        foreach (var secret in registry.ClientSecretsOf(tenant))
        {
            SHA256.HashData(secret, expected);
            accepted |= CryptographicOperations.FixedTimeEquals(given, expected);
        }

        return accepted;
    }

    /// <summary>Name of a user's bytes; not well-formed text is nobody's name.</summary>
    public static string Name(ReadOnlySpan<byte> user) => Encoding.UTF8.GetString(user);
}
