using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Client;

/// <summary>Registration of the client.</summary>
public static class KvCacheClientServices
{
    /// <summary>Adds a <see cref="KvCacheClient"/> as the singleton <see cref="IKvCache"/>. Its options are validated at start.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Sets the options.</param>
    public static IServiceCollection AddKvCacheClient(this IServiceCollection services, Action<KvCacheClientOptions> configure)
    {
        services.AddOptions<KvCacheClientOptions>().Configure(configure).ValidateOnStart();
        services.AddSingleton<IValidateOptions<KvCacheClientOptions>, KvCacheClientOptionsValidator>();
        services.AddSingleton(provider => new KvCacheClient(
            provider.GetRequiredService<IOptions<KvCacheClientOptions>>().Value,
            provider.GetService<ILoggerFactory>()));
        services.AddSingleton<IKvCache>(provider => provider.GetRequiredService<KvCacheClient>());
        return services;
    }
}
