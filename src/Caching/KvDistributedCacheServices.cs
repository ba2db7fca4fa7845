using System.Diagnostics.CodeAnalysis;
using KvCache.Client;
using KvCache.Client.Hosting;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Configuration;
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
        var options = Add(services);
        if (configure is not null)
            options.Configure(configure);
        return services;
    }

    /// <summary>Adds a <see cref="KvDistributedCache"/> with the settings of a section, whose keys are the names of
    /// <see cref="KvDistributedCacheOptions"/>. A key that is none of them is an <see cref="OptionsValidationException"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="settings">The section.</param>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    public static IServiceCollection AddKvCacheDistributedCache(this IServiceCollection services, IConfiguration settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        CacheRegistration.Bind(Add(services), settings);
        return services;
    }

    private static OptionsBuilder<KvDistributedCacheOptions> Add(IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.TryAddSingleton(Create);
        services.Replace(ServiceDescriptor.Singleton<IDistributedCache>(
            provider => provider.GetRequiredService<KvDistributedCache>()));
        return CacheRegistration.AddOptions<KvDistributedCacheOptions, Validator>(services, key: null);
    }

    private static KvDistributedCache Create(IServiceProvider provider)
    {
        var options = CacheRegistration.GetOptions<KvDistributedCacheOptions>(provider, key: null);
        return new KvDistributedCache(
            CacheRegistration.Get<KvCacheClient>(provider, options.Client),
            options,
            provider.GetService<TimeProvider>(),
            provider.GetService<ILoggerFactory>());
    }

    private sealed class Validator(IServiceProviderIsKeyedService? services = null) : IValidateOptions<KvDistributedCacheOptions>
    {
        public ValidateOptionsResult Validate(string? name, KvDistributedCacheOptions options)
        {
            var missing = CacheRegistration.FindMissing(services, "The distributed cache", typeof(KvCacheClient), options.Client);
            string[] problems = [.. options.Validate(), .. missing is null ? (string[])[] : [missing]];
            return problems.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems);
        }
    }
}
