using Orleans.Runtime;

namespace KvCache.Orleans.Access;

/// <summary>Sends the tenant's ticket along with every call of an Orleans client.</summary>
internal sealed class TicketCalls(TenantAccess access) : IOutgoingGrainCallFilter
{
    // Async, so that the request context of the caller stays as it was.
    public async Task Invoke(IOutgoingGrainCallContext context)
    {
        if (access.Ticket is { } ticket)
            RequestContext.Set(CallMarks.Key, ticket);
        await context.Invoke().ConfigureAwait(false);
    }
}
