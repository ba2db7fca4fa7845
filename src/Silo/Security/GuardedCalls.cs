using System.Runtime.CompilerServices;
using KvCache.Grains.Prefixes;
using KvCache.Orleans.Access;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.CodeGeneration;
using Orleans.Runtime;
using Orleans.Serialization.Invocation;

namespace KvCache.Silo.Security;

/// <summary>
/// Sends the grain calls of this silo so that <see cref="CallGuard"/> lets them in: those that go to another silo with the cluster's mark
/// in their request context, those that stay in this process with a mark on the request itself, which costs nothing.
/// </summary>
/// <remarks>
/// <para>It stands around Orleans' own <see cref="IGrainReferenceRuntime"/> instead of being a filter of outgoing calls, because such a
/// filter makes every call pay for an invoker and two state machines, and a request context is copied four times on the way of a call
/// (docs/security.md has the figures).</para>
/// <para>The mark on a request is a bit of its options, which are not serialized: a request that came from a connection is a new object
/// without it.</para>
/// <para>The mark in the context goes to silos only, and a response repeats the context of whoever sends it. So it is set only for the time
/// of the call (an async method leaves the context of its caller alone), and never for a client's own objects.</para>
/// </remarks>
internal sealed class GuardedCalls(IGrainReferenceRuntime calls, CallGuard guard, ActivePrefixes active, ILocalSiloDetails silo)
    : IGrainReferenceRuntime
{
    private const InvokeMethodOptions Own = (InvokeMethodOptions)(1 << 30); // Orleans uses the low bits

    /// <summary>Whether this process has made a request, and has not sent it anywhere.</summary>
    public static bool IsOwn(IInvokable request) => request is RequestBase made && (made.Options & Own) != 0;

    public object Cast(IAddressable grain, Type interfaceType) => calls.Cast(grain, interfaceType);

    public ValueTask<T?> InvokeMethodAsync<T>(GrainReference reference, IInvokable request, InvokeMethodOptions options) =>
        WayOf(reference.GrainId, request) switch
        {
            Way.Near => NearAsync<T>(reference, request, options),
            Way.Plain => calls.InvokeMethodAsync<T>(reference, request, options),
            Way.Client => UnmarkedAsync<T>(reference, request, options),
            _ => MarkedAsync<T>(reference, request, options),
        };

    public ValueTask InvokeMethodAsync(GrainReference reference, IInvokable request, InvokeMethodOptions options) =>
        WayOf(reference.GrainId, request) switch
        {
            Way.Near => NearAsync(reference, request, options),
            Way.Plain => calls.InvokeMethodAsync(reference, request, options),
            Way.Client => UnmarkedAsync(reference, request, options),
            _ => MarkedAsync(reference, request, options),
        };

    // Nobody hears whether a call without an answer was refused, so that it is never sent without the mark.
    public void InvokeMethod(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        var before = RequestContext.Get(CallMarks.Key);
        if (IsClients(reference.GrainId))
            RequestContext.Remove(CallMarks.Key);
        else
            RequestContext.Set(CallMarks.Key, guard.Mark);
        calls.InvokeMethod(reference, request, options);
        if (before is null)
            RequestContext.Remove(CallMarks.Key);
        else
            RequestContext.Set(CallMarks.Key, before);
    }

    /// <summary>Puts it around Orleans' own.</summary>
    public static void Register(IServiceCollection services)
    {
        var own = services.Last(service => service.ServiceType == typeof(IGrainReferenceRuntime) && !service.IsKeyedService);
        services.Remove(own);
        services.AddSingleton<IGrainReferenceRuntime>(provider => ActivatorUtilities.CreateInstance<GuardedCalls>(
            provider, (IGrainReferenceRuntime)ActivatorUtilities.CreateInstance(provider, own.ImplementationType!)));
    }

    private enum Way
    {
        /// <summary>To a grain that is active here, or just was.</summary>
        Near,

        /// <summary>As it is: to this silo itself, or it has the mark already.</summary>
        Plain,

        /// <summary>To an object of a client.</summary>
        Client,

        /// <summary>Perhaps to another silo.</summary>
        Far,
    }

    private static bool IsClients(GrainId target) => target.IsClient() && !target.Key.AsSpan().StartsWith("hosted-"u8);

    private Way WayOf(GrainId target, IInvokable request)
    {
        if (request is RequestBase own)
        {
            if (active.Contains(target))
            {
                own.AddInvokeMethodOptions(Own);
                return Way.Near;
            }

            if (SystemTargetGrainId.TryParse(target, out var system) && system.GetSiloAddress().Equals(silo.SiloAddress))
            {
                own.AddInvokeMethodOptions(Own);
                return Way.Plain;
            }
        }

        return IsClients(target) ? Way.Client : ReferenceEquals(RequestContext.Get(CallMarks.Key), guard.Mark) ? Way.Plain : Way.Far;
    }

    // A grain that was deactivated at this moment may come to life on another silo, which refuses what has no mark before anything has run.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<T?> NearAsync<T>(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        try
        {
            return await calls.InvokeMethodAsync<T>(reference, request, options).ConfigureAwait(false);
        }
        catch (UnauthorizedAccessException)
        {
            return await MarkedAsync<T>(reference, request, options).ConfigureAwait(false);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask NearAsync(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        try
        {
            await calls.InvokeMethodAsync(reference, request, options).ConfigureAwait(false);
        }
        catch (UnauthorizedAccessException)
        {
            await MarkedAsync(reference, request, options).ConfigureAwait(false);
        }
    }

    private async ValueTask<T?> MarkedAsync<T>(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        RequestContext.Set(CallMarks.Key, guard.Mark);
        return await calls.InvokeMethodAsync<T>(reference, request, options).ConfigureAwait(false);
    }

    private async ValueTask MarkedAsync(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        RequestContext.Set(CallMarks.Key, guard.Mark);
        await calls.InvokeMethodAsync(reference, request, options).ConfigureAwait(false);
    }

    private async ValueTask<T?> UnmarkedAsync<T>(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        RequestContext.Remove(CallMarks.Key);
        return await calls.InvokeMethodAsync<T>(reference, request, options).ConfigureAwait(false);
    }

    private async ValueTask UnmarkedAsync(GrainReference reference, IInvokable request, InvokeMethodOptions options)
    {
        RequestContext.Remove(CallMarks.Key);
        await calls.InvokeMethodAsync(reference, request, options).ConfigureAwait(false);
    }
}
