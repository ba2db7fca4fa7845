namespace KvCache.Orleans.Access;

/// <summary>
/// Gives a tenant's client a new ticket before the one it has ends. Its key is the tenant's id (<see cref="TenantId.ToString"/>).
/// </summary>
[Alias("KvCache.ITicketGrain")]
internal interface ITicketGrain : IGrainWithStringKey
{
    /// <summary>A new ticket for the caller, whose present one goes along with the call.</summary>
    /// <param name="tenant">The tenant.</param>
    /// <param name="proof">HMAC-SHA-256 of the tenant's secret over the present ticket (<see cref="TenantAccess.RenewalProof"/>): a secret
    /// that is no longer valid gets no new ticket.</param>
    /// <returns>Null when the secret is not valid.</returns>
    [Alias("Renew")]
    ValueTask<RenewedTicket?> RenewAsync(string tenant, byte[] proof);
}

/// <summary>A new ticket.</summary>
/// <param name="Bytes">The ticket.</param>
/// <param name="Life">How long it is valid.</param>
[GenerateSerializer, Immutable, Alias("KvCache.RenewedTicket")]
internal sealed record RenewedTicket([property: Id(0)] byte[] Bytes, [property: Id(1)] TimeSpan Life);
