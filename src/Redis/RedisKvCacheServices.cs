using System.Diagnostics.CodeAnalysis;
using KvCache.Client.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCache.Redis;

/// <summary>Registration of the cache over a plain Redis.</summary>
/// <remarks>Keys, second registrations and validation are as with <see cref="Client.KvCacheServices"/>.</remarks>
public static class RedisKvCacheServices
{
    /// <summary>Adds a <see cref="RedisKvCache"/> with a connection of its own.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Sets the options.</param>
    public static IServiceCollection AddRedisKvCache(this IServiceCollection services, Action<RedisKvCacheOptions> configure) =>
        Add(services, null, configure);

    /// <summary>Adds a <see cref="RedisKvCache"/> with the settings of a section, whose keys are the names of
    /// <see cref="RedisKvCacheOptions"/>. A key that is none of them is an <see cref="OptionsValidationException"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="settings">The section.</param>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    public static IServiceCollection AddRedisKvCache(this IServiceCollection services, IConfiguration settings) =>
        Add(services, null, settings);

    /// <summary>Adds a <see cref="RedisKvCache"/> with a key and a connection of its own.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service, and name of its options.</param>
    /// <param name="configure">Sets the options.</param>
    public static IServiceCollection AddKeyedRedisKvCache(
        this IServiceCollection services, string key, Action<RedisKvCacheOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return Add(services, key, configure);
    }

    /// <summary>Adds a <see cref="RedisKvCache"/> with a key and with the settings of a section.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service, and name of its options.</param>
    /// <param name="settings">The section.</param>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    public static IServiceCollection AddKeyedRedisKvCache(this IServiceCollection services, string key, IConfiguration settings)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return Add(services, key, settings);
    }

    private static IServiceCollection Add(IServiceCollection services, string? key, Action<RedisKvCacheOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, key)?.Configure(configure).Services ?? services;
    }

    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    private static IServiceCollection Add(IServiceCollection services, string? key, IConfiguration settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        if (Add(services, key) is { } options)
            CacheRegistration.Bind(options, settings);
        return services;
    }

    private static OptionsBuilder<RedisKvCacheOptions>? Add(IServiceCollection services, string? key)
    {
        var isNew = CacheRegistration.TryAdd(
            services, key, provider => new RedisKvCache(CacheRegistration.GetOptions<RedisKvCacheOptions>(provider, key)));
        return isNew ? CacheRegistration.AddOptions<RedisKvCacheOptions, Validator>(services, key) : null;
    }

    private sealed class Validator : IValidateOptions<RedisKvCacheOptions>
    {
        public ValidateOptionsResult Validate(string? name, RedisKvCacheOptions options) =>
            options.Validate() is { Count: > 0 } problems ? ValidateOptionsResult.Fail(problems) : ValidateOptionsResult.Success;
    }
}
