using System.Security.Cryptography;

namespace KvCache;

/// <summary>
/// Eight bytes that name a tenant in front of every <see cref="NamespaceId"/>: the first of <c>SHA256("kvcache.tenant.v1" ‖ name)</c>.
/// Names are
/// the administrator's to choose, not the clients', so that 64 bits are enough; two configured tenants that met would be refused at start.
/// </summary>
/// <param name="Value">The bytes, as they lie in memory.</param>
public readonly record struct TenantId(ulong Value)
{
    /// <summary>Id of a tenant.</summary>
    /// <exception cref="ArgumentException">The name is not well-formed UTF-16.</exception>
    public static TenantId Of(string tenant)
    {
        ArgumentNullException.ThrowIfNull(tenant);
        byte[] name = [.. "kvcache.tenant.v1"u8, .. CacheNamespace.Utf8Of(tenant, nameof(tenant))];
        return new TenantId(BitConverter.ToUInt64(SHA256.HashData(name)));
    }

    /// <summary>16 lower-case hexadecimal digits, as at the front of a key.</summary>
    public override string ToString() => Convert.ToHexStringLower(BitConverter.GetBytes(Value));
}
