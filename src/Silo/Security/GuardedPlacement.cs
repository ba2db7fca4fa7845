using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace KvCache.Silo.Security;

/// <summary>Asks the guard before a placement: Orleans' filter of incoming calls comes only after the activation.</summary>
internal sealed class GuardedPlacement(IPlacementDirector director, CallGuard guard) : IPlacementDirector
{
    public Task<SiloAddress> OnAddActivation(PlacementStrategy strategy, PlacementTarget target, IPlacementContext context)
    {
        guard.CheckPlacement(target.GrainIdentity, target.RequestContextData);
        return director.OnAddActivation(strategy, target, context);
    }

    /// <summary>Guards every placement that is registered so far. Clients' own objects are not placed, they are where they are.</summary>
    public static void GuardAll(IServiceCollection services)
    {
        for (var i = 0; i < services.Count; i++)
        {
            var placement = services[i];
            if (!placement.IsKeyedService || placement.ServiceType != typeof(IPlacementDirector)
                || placement.ServiceKey as Type == ClientObservers)
                continue;
            services[i] = ServiceDescriptor.KeyedSingleton<IPlacementDirector>(placement.ServiceKey, (provider, key) =>
                new GuardedPlacement(Create(placement, provider, key), provider.GetRequiredService<CallGuard>()));
        }
    }

    private static Type? ClientObservers { get; } = typeof(PlacementStrategy).Assembly.GetType("Orleans.Runtime.ClientObserversPlacement");

    private static IPlacementDirector Create(ServiceDescriptor placement, IServiceProvider services, object? key) => (IPlacementDirector)(
        placement.KeyedImplementationInstance
        ?? placement.KeyedImplementationFactory?.Invoke(services, key)
        ?? ActivatorUtilities.CreateInstance(services, placement.KeyedImplementationType!));
}
