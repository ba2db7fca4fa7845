using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KvCache.Orleans.Access;
using KvCache.Silo.Accounts;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Security;

/// <summary>
/// Makes and checks tickets of tenants: tenant id (8 bytes), end in Unix milliseconds (8), random (16), and an HMAC-SHA-256 of the
/// cluster's secret over them (32). Every silo of the cluster checks them without asking anybody; those of a tenant that was disabled or
/// deleted are worthless as soon as a silo knows of that.
/// </summary>
internal sealed class TicketOffice(ClusterSecrets secrets, TenantQuotas quotas, IOptions<OrleansDoorOptions> options, TimeProvider time)
{
    private const int EndAt = 8, RandomAt = 16, MacAt = 32, Size = MacAt + HMACSHA256.HashSizeInBytes;

    private static ReadOnlySpan<byte> Label => "kvcache.orleans.ticket.v1"u8;

    /// <summary>A ticket of a tenant that has proven its secret.</summary>
    public DoorTicket Issue(string tenant)
    {
        var life = options.Value.TicketLife;
        var ticket = new byte[Size];
        MemoryMarshal.Write(ticket, TenantId.Of(tenant).Value);
        BinaryPrimitives.WriteInt64LittleEndian(ticket.AsSpan(EndAt), (time.GetUtcNow() + life).ToUnixTimeMilliseconds());
        RandomNumberGenerator.Fill(ticket.AsSpan(RandomAt, MacAt - RandomAt));
        Sign(secrets.Own, ticket.AsSpan(0, MacAt), ticket.AsSpan(MacAt));
        return new DoorTicket(ticket, life);
    }

    /// <summary>The tenant of a ticket that is genuine and has not ended, and who is let in. Allocates nothing.</summary>
    public bool TryRead(ReadOnlySpan<byte> ticket, out TenantId tenant)
    {
        tenant = default;
        if (ticket.Length != Size || BinaryPrimitives.ReadInt64LittleEndian(ticket[EndAt..]) <= time.GetUtcNow().ToUnixTimeMilliseconds())
            return false;
        Span<byte> mac = stackalloc byte[HMACSHA256.HashSizeInBytes];
        foreach (var secret in secrets.All)
        {
            Sign(secret, ticket[..MacAt], mac);
            if (!CryptographicOperations.FixedTimeEquals(mac, ticket[MacAt..]))
                continue;
            tenant = new TenantId(MemoryMarshal.Read<ulong>(ticket));
            return !quotas.IsClosed(tenant);
        }

        return false;
    }

    private static void Sign(byte[] secret, ReadOnlySpan<byte> content, Span<byte> mac)
    {
        Span<byte> signed = stackalloc byte[Label.Length + MacAt];
        Label.CopyTo(signed);
        content.CopyTo(signed[Label.Length..]);
        HMACSHA256.HashData(secret, signed, mac);
    }
}
