using System.Security.Cryptography;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.Silo.Hosting;
using KvCache.Silo.Options;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;

namespace KvCache.Silo.Security;

/// <summary>
/// Lets through the grain calls of this cluster's silos, and of clients what their ticket is for: grains of prefixes of their tenant.
/// Everything
/// else that comes through a gateway, whatever sender it names, is refused by whichever silo it reaches.
/// </summary>
/// <remarks>
/// The sender that a message names proves nothing: a client writes it itself, as it does the interface in the message's head. What counts
/// is the mark in the request context and the request that would be run; a request that this process has made itself
/// (<see cref="GuardedCalls"/>) needs no mark.
/// </remarks>
internal sealed partial class CallGuard : IIncomingGrainCallFilter
{
    private readonly TicketOffice _tickets;
    private readonly ILogger _logger;
    private readonly ClusterSecrets _secrets;
    private volatile Marks _marks;

    private readonly ActivePrefixes _active;
    private readonly int _mostActive;

    public CallGuard(
        ClusterSecrets secrets, TicketOffice tickets, ActivePrefixes active, IOptions<OrleansDoorOptions> options,
        ILogger<CallGuard> logger)
    {
        _tickets = tickets;
        _active = active;
        _mostActive = options.Value.MaxActivations;
        _logger = logger;
        _secrets = secrets;
        _marks = Marks.Of(secrets.All);
    }

    // Those of the secrets of now: they may have been exchanged.
    private Marks Now => ReferenceEquals(_marks.Secrets, _secrets.All) ? _marks : _marks = Marks.Of(_secrets.All);

    /// <summary>The mark of this silo's calls.</summary>
    public SiloMark Mark => Now.Own;

    /// <summary>Refuses a call that comes with other rights than it needs.</summary>
    public Task Invoke(IIncomingGrainCallContext context)
    {
        if (GuardedCalls.IsOwn(context.Request))
            return context.Invoke();
        var mark = RequestContext.Get(CallMarks.Key);
        if (ReferenceEquals(mark, Mark) || IsAllowed(mark, context))
            return context.Invoke();
        var call = $"{context.Request.GetInterfaceName()}.{context.Request.GetMethodName()}";
        LogRefused(call, context.TargetId);
        return Task.FromException(new UnauthorizedAccessException($"{call} of {context.TargetId} is refused: "
            + (NamesSilo(context.Request) ? "only silos say where memory was reserved; leave 'Silo' out." : Reason(mark))));
    }

    /// <summary>Refuses to place an activation for a call that would be refused: nothing is activated for it.</summary>
    /// <exception cref="UnauthorizedAccessException">The call is not allowed.</exception>
    public void CheckPlacement(GrainId target, Dictionary<string, object>? context)
    {
        object? mark = null;
        context?.TryGetValue(CallMarks.Key, out mark);
        if (target.Type != ClientMessages.Nowhere && (ReferenceEquals(mark, Mark) || IsSilo(mark)))
            return;
        if (IsTenants(mark, target))
        {
            // A call of a key that nobody has stored costs an activation too.
            if (BlockKey.TryParseGrainKey(target.Key.ToString(), out var key) && _active.CountOf(key.Namespace.Tenant) >= _mostActive)
                throw new InvalidOperationException(
                    $"The tenant has {_mostActive} prefixes active on this silo, which is all that {OrleansDoorOptions.Section}:"
                    + "MaxActivations allows its clients. They end by themselves when they are not called for some minutes; the data plane "
                    + "needs none.");
            return;
        }

        LogRefused("An activation", target);
        throw new UnauthorizedAccessException(target.Type == ClientMessages.Nowhere
            ? $"A call of '{target.Key}' is refused: it is no prefix of the tenant that the connection belongs to "
                + "(BlockKey.ToGrainKey makes their keys), and nothing else is for clients."
            : $"A call of {target} is refused: {Reason(mark)}");
    }

    private static string Reason(object? mark) => mark is TenantTicket
        ? "the ticket has ended, or is one of another tenant than the grain's; it is for prefixes of its tenant alone."
        : "it carries no ticket of a tenant. Orleans clients need UseKvCacheTenant.";

    private static bool IsForClients(IInvokable request) => request.GetInterfaceType() is var type
        && (type == typeof(IPrefixGrain) || type == typeof(ITicketGrain)
            || type.FullName == "Orleans.Runtime.IGrainCallCancellationExtension");

    // Whoever is named there is connected to and asked: a client would send silos to any address.
    private static bool NamesSilo(IInvokable request)
    {
        for (var i = 0; i < request.GetArgumentCount(); i++)
        {
            if (request.GetArgument(i) is WriteIntent { Silo: not null })
                return true;
        }

        return false;
    }

    private bool IsAllowed(object? mark, IIncomingGrainCallContext context) =>
        IsSilo(mark)
        || (IsTenants(mark, context.TargetId) && IsForClients(context.Request) && !NamesSilo(context.Request))
        || IsManifest(context.Request)
        || IsTimer(context);

    private bool IsSilo(object? mark)
    {
        if (mark is not SiloMark { Mac: { } mac })
            return false;
        foreach (var accepted in Now.Accepted)
        {
            if (CryptographicOperations.FixedTimeEquals(mac, accepted))
                return true;
        }

        return false;
    }

    private bool IsTenants(object? mark, GrainId target)
    {
        if (mark is not TenantTicket { Bytes: { } bytes } || !_tickets.TryRead(bytes, out var tenant))
            return false;
        if (target.Type == PrefixGrain.Type)
            return BlockKey.TryParseGrainKey(target.Key.ToString(), out var key) && key.Namespace.Tenant == tenant;
        return target.Type == TicketGrain.Type && target.Key.ToString() == tenant.ToString();
    }

    // Which grains and interfaces there are: a client cannot start without it, and it tells nothing of a tenant.
    private static bool IsManifest(IInvokable request) =>
        request.GetInterfaceType().FullName == "Orleans.Runtime.IClusterManifestSystemTarget";

    // A timer calls its own grain, past the filter of outgoing calls. What came from a connection is a request that Orleans generated the
    // code of.
    private static bool IsTimer(IIncomingGrainCallContext context) =>
        context.Request is not RequestBase && context.Request.GetInterfaceName() == "IGrainTimerInvoker"
        && context.SourceId == context.TargetId;

    [LoggerMessage(
        Level = LogLevel.Warning,
        EventName = BoundedLog.Strangers + "Call",
        Message = "{Call} of {Grain} was refused: it comes neither from a silo nor from a client of its tenant")]
    private partial void LogRefused(string call, GrainId grain);

    private sealed record Marks(IReadOnlyList<byte[]> Secrets, byte[][] Accepted, SiloMark Own)
    {
        public static Marks Of(IReadOnlyList<byte[]> secrets)
        {
            byte[][] accepted = [.. secrets.Select(secret => HMACSHA256.HashData(secret, "kvcache.orleans.call.v1"u8))];
            return new Marks(secrets, accepted, new SiloMark { Mac = accepted[0] });
        }
    }
}
