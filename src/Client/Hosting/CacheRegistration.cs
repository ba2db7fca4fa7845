using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace KvCache.Client.Hosting;

/// <summary>What the registrations of all caches have in common.</summary>
internal static class CacheRegistration
{
    public const string Trimming = "Sections are read by reflection; trimmed and ahead-of-time compiled programs pass a delegate.";

    /// <summary>Adds a cache, unless there is one of its type and key.</summary>
    /// <returns>Whether it was added.</returns>
    public static bool TryAdd<TCache>(IServiceCollection services, string? key, Func<IServiceProvider, TCache> create)
        where TCache : class, IKvCache
    {
        ArgumentNullException.ThrowIfNull(services);
        if (services.Any(service => service.ServiceType == typeof(TCache) && Equals(service.ServiceKey, key)))
            return false;
        if (key is null)
        {
            services.AddSingleton(create);
            services.TryAddSingleton<IKvCache>(provider => provider.GetRequiredService<TCache>());
        }
        else
        {
            services.AddKeyedSingleton(key, (provider, _) => create(provider));
            services.TryAddKeyedSingleton<IKvCache>(key, (provider, same) => provider.GetRequiredKeyedService<TCache>(same));
        }

        return true;
    }

    /// <summary>The cache of a key, or the one without.</summary>
    public static TCache Get<TCache>(IServiceProvider provider, string? key)
        where TCache : class, IKvCache =>
        key is null ? provider.GetRequiredService<TCache>() : provider.GetRequiredKeyedService<TCache>(key);

    /// <summary>Settings that are validated when the host starts, or else at their first use.</summary>
    public static OptionsBuilder<TOptions> AddOptions<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TOptions,
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TValidator>(
        IServiceCollection services, string? key)
        where TOptions : class
        where TValidator : class, IValidateOptions<TOptions>
    {
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<TOptions>, TValidator>());
        return services.AddOptions<TOptions>(key).ValidateOnStart();
    }

    /// <summary>The settings of a key, or those without.</summary>
    public static TOptions GetOptions<
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TOptions>(
        IServiceProvider provider, string? key)
        where TOptions : class =>
        provider.GetRequiredService<IOptionsMonitor<TOptions>>().Get(key);

    /// <summary>Why a cache that somebody is to use cannot be had, in a sentence; null when it can.</summary>
    /// <param name="services">What is registered; null where that cannot be asked.</param>
    /// <param name="user">Who is to use it.</param>
    /// <param name="cache">Its type.</param>
    /// <param name="key">Its key; null for none.</param>
    public static string? FindMissing(IServiceProviderIsKeyedService? services, string user, Type cache, string? key)
    {
        if (services is null || (key is null ? services.IsService(cache) : services.IsKeyedService(cache, key)))
            return null;
        return $"{user} is to use the {cache.Name} {(key is null ? "without a key" : $"with the key '{key}'")}, which is not registered; "
            + (key is null ? "AddKvCacheClient" : "AddKeyedKvCacheClient")
            + (cache == typeof(IKvCache) ? ", or the registration of another cache, was expected." : " was expected.");
    }

    /// <summary>Takes settings from a section. A key or a value that is not understood fails the validation, like one that cannot
    /// be.</summary>
    [RequiresUnreferencedCode(Trimming)]
    [RequiresDynamicCode(Trimming)]
    public static void Bind<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TOptions>(
        OptionsBuilder<TOptions> options, IConfiguration settings)
        where TOptions : class =>
        options.Configure(values =>
        {
            var problems = new List<string>();
            var understood = SettingsSection.Read(settings, typeof(TOptions), problems);
            if (problems.Count > 0)
                throw new OptionsValidationException(options.Name, typeof(TOptions), problems);
            understood.Bind(values);
        });
}
