namespace KvCache.Orleans.Access;

/// <summary>
/// What goes along with every grain call, in the request context: the mark of a silo of this cluster, or the ticket of a tenant. One key
/// for both, so that a silo that calls on behalf of a client replaces the client's ticket by its own mark.
/// </summary>
internal static class CallMarks
{
    /// <summary>Key in the request context.</summary>
    public const string Key = "kvcache";
}

/// <summary>Mark of a silo: a MAC of the cluster's secret. Inside a silo the object itself is the proof, and nothing is computed.</summary>
[GenerateSerializer, Immutable, Alias("KvCache.SiloMark")]
internal sealed class SiloMark
{
    /// <summary>The MAC.</summary>
    [Id(0)]
    public required byte[] Mac { get; init; }
}

/// <summary>Ticket of a tenant, as a gateway handed it out.</summary>
[GenerateSerializer, Immutable, Alias("KvCache.TenantTicket")]
internal sealed class TenantTicket
{
    /// <summary>Tenant id, end of life, random bytes and the MAC over them; only silos read them.</summary>
    [Id(0)]
    public required byte[] Bytes { get; init; }
}
