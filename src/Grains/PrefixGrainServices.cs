using Microsoft.Extensions.DependencyInjection;

namespace KvCache.Grains;

/// <summary>Registration of what prefix grains need beside the block store.</summary>
public static class PrefixGrainServices
{
    /// <summary>Adds the services of prefix grains to a silo.</summary>
    public static IServiceCollection AddPrefixGrains(this IServiceCollection services) =>
        services.AddSingleton<PrefixDescriptorCounters>().AddSingleton<PrefixDescriptorStore>();
}
