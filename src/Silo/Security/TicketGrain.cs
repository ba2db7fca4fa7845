using System.Security.Cryptography;
using KvCache.Orleans.Access;
using KvCache.Silo.Data;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace KvCache.Silo.Security;

/// <summary>Renews tickets on the silo whose gateway the client uses.</summary>
[StatelessWorker(1), GrainType(TypeName), CollectionAgeLimit(Minutes = 1)]
internal sealed class TicketGrain(TenantRegistry tenants, TicketOffice office) : Grain, ITicketGrain
{
    private const string TypeName = "kvcache.tickets";

    /// <summary>Type in grain ids.</summary>
    public static GrainType Type { get; } = GrainType.Create(TypeName);

    public ValueTask<RenewedTicket?> RenewAsync(string tenant, byte[] proof)
    {
        if (RequestContext.Get(CallMarks.Key) is not TenantTicket { Bytes: var ticket }
            || TenantId.Of(tenant).ToString() != this.GetPrimaryKeyString()
            || !tenants.ClientSecretsOf(tenant)
                .Any(secret => CryptographicOperations.FixedTimeEquals(proof, TenantAccess.RenewalProof(secret, ticket))))
            return new((RenewedTicket?)null);
        var renewed = office.Issue(tenant);
        return new(new RenewedTicket(renewed.Bytes, renewed.Life));
    }
}
