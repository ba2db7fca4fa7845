using KvCache.Grains.Cluster;
using KvCache.Grains.Prefixes;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Hosting;

namespace KvCache.Grains;

/// <summary>Registration of what prefix grains need beside the block store.</summary>
internal static class PrefixGrainServices
{
    /// <summary>Adds the services of prefix grains to a silo; <see cref="IClusterBlocks"/> is the caller's.</summary>
    public static IServiceCollection AddPrefixGrains(this IServiceCollection services)
    {
        services.AddPlacementDirector<PrefixPlacement, PrefixPlacementDirector>();
        return services.AddSingleton<ActivePrefixes>().AddSingleton<DamageCheck>().AddSingleton<PrefixDescriptorCounters>()
            .AddSingleton<PrefixDescriptorStore>();
    }
}
