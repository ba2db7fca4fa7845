using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace KvCache.Silo.Tiers;

/// <summary>Registration of the Redis tier.</summary>
internal static class RedisTierServices
{
    /// <summary>
    /// Adds the options, and the <see cref="RedisTier"/> where <c>KvCache:Redis:ConnectionString</c> is set; it needs a
    /// <see cref="BlockStore"/>. Register it before what uses it, so that it stops after that.
    /// </summary>
    /// <param name="services">Services of the silo.</param>
    /// <param name="configuration">Configuration with the section <c>KvCache</c>.</param>
    public static IServiceCollection AddRedisTier(this IServiceCollection services, IConfiguration configuration)
    {
        var section = configuration.GetSection(RedisTierOptions.Section);
        services.AddOptions<RedisTierOptions>().Bind(section).ValidateDataAnnotations().ValidateOnStart();
        if (string.IsNullOrEmpty(section[nameof(RedisTierOptions.ConnectionString)]))
            return services;
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<RecentLives>();
        services.AddSingleton<RedisTierCounters>();
        services.AddSingleton<RedisTier>();
        services.AddSingleton<ILiveFiles>(provider => provider.GetRequiredService<RedisTier>());
        services.AddSingleton<IPayloadTier>(provider => provider.GetRequiredService<RedisTier>());
        services.AddHostedService(provider => provider.GetRequiredService<RedisTier>());
        return services;
    }
}
