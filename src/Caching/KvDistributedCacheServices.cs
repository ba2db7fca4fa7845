using KvCache.Client;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Caching;

/// <summary>Registration of the distributed cache.</summary>
public static class KvDistributedCacheServices
{
    /// <summary>
    /// Adds a <see cref="KvDistributedCache"/> as the <see cref="IDistributedCache"/>, over the <see cref="KvCacheClient"/> of the
    /// services. <c>AddHybridCache</c> finds it there. A host validates the settings when it starts.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Sets the options; null for their defaults.</param>
    public static IServiceCollection AddKvCacheDistributedCache(
        this IServiceCollection services, Action<KvDistributedCacheOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        var options = services.AddOptions<KvDistributedCacheOptions>().ValidateOnStart();
        if (configure is not null)
            options.Configure(configure);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<KvDistributedCacheOptions>, Validator>());
        services.TryAddSingleton(Create);
        services.Replace(ServiceDescriptor.Singleton<IDistributedCache>(
            provider => provider.GetRequiredService<KvDistributedCache>()));
        return services;
    }

    private static KvDistributedCache Create(IServiceProvider provider)
    {
        var options = provider.GetRequiredService<IOptions<KvDistributedCacheOptions>>().Value;
        var client = options.Client is { } key ? provider.GetKeyedService<KvCacheClient>(key) : provider.GetService<KvCacheClient>();
        return new KvDistributedCache(
            client ?? throw new InvalidOperationException(options.Client is null
                ? "The distributed cache needs a KvCacheClient; AddKvCacheClient was expected beside AddKvCacheDistributedCache."
                : $"The distributed cache needs the KvCacheClient '{options.Client}', which nobody has added."),
            options,
            provider.GetService<TimeProvider>(),
            provider.GetService<ILoggerFactory>());
    }

    private sealed class Validator : IValidateOptions<KvDistributedCacheOptions>
    {
        public ValidateOptionsResult Validate(string? name, KvDistributedCacheOptions options) =>
            options.Validate() is { Count: > 0 } failures ? ValidateOptionsResult.Fail(failures) : ValidateOptionsResult.Success;
    }
}
