using System.Runtime.InteropServices;
using KvCache.Hashing;

namespace KvCache;

/// <summary>
/// 16-byte id of a <see cref="CacheNamespace"/>: eight bytes that name its tenant, then eight of a SHA-256 over all fields. A key, wherever
/// it is met, so tells whose it is: an id of another tenant cannot be made by choosing fields, however many are tried.
/// </summary>
/// <param name="Tenant">First eight bytes: whose namespace it is.</param>
/// <param name="Fields">Last eight bytes, little-endian: which of the tenant's namespaces. A tenant that looks for collisions finds them
/// among its own.</param>
[StructLayout(LayoutKind.Sequential, Size = Size)]
public readonly record struct NamespaceId(TenantId Tenant, ulong Fields)
{
    /// <summary>Bytes of an id.</summary>
    public const int Size = 16;

    /// <summary>Reads an id from at least <see cref="Size"/> bytes.</summary>
    public static NamespaceId Read(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<NamespaceId>(bytes);

    /// <summary>Copies the bytes to <paramref name="destination"/>, which holds at least <see cref="Size"/> bytes.</summary>
    public void CopyTo(Span<byte> destination) => MemoryMarshal.Write(destination, in this);

    /// <summary>Parses 32 hexadecimal digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> hex, out NamespaceId id)
    {
        id = default;
        Span<byte> bytes = stackalloc byte[Size];
        if (hex.Length != Size * 2 || Convert.FromHexString(hex, bytes, out _, out _) != System.Buffers.OperationStatus.Done)
            return false;
        id = Read(bytes);
        return true;
    }

    /// <inheritdoc/>
    public override int GetHashCode() => (int)KeyHash.Start(this);

    /// <summary>32 lower-case hexadecimal digits.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Size];
        CopyTo(bytes);
        return Convert.ToHexStringLower(bytes);
    }
}
