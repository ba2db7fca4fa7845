using System.Diagnostics.CodeAnalysis;
using KvCache.Client.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Client;

/// <summary>Registration of caches and of their health.</summary>
/// <remarks>
/// A cache is a singleton, as what it is and as <see cref="IKvCache"/>; one with a key is a keyed service. Of two registrations of the
/// same cache the first one holds, its settings included; of several kinds without a key the first one is the <see cref="IKvCache"/>. A
/// host validates the settings when it starts, and begins to connect clients (<see cref="KvCacheClient.WarmUp"/>); without a host both
/// come with the first use.
/// </remarks>
public static class KvCacheServices
{
    /// <summary>Adds a <see cref="KvCacheClient"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Sets the options.</param>
    public static IServiceCollection AddKvCacheClient(this IServiceCollection services, Action<KvCacheClientOptions> configure) =>
        AddClient(services, null, configure);

    /// <summary>Adds a <see cref="KvCacheClient"/> with the settings of a section, whose keys are the names of
    /// <see cref="KvCacheClientOptions"/>. A key that is none of them is an <see cref="OptionsValidationException"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="settings">The section.</param>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    public static IServiceCollection AddKvCacheClient(this IServiceCollection services, IConfiguration settings) =>
        AddClient(services, null, settings);

    /// <summary>Adds a <see cref="KvCacheClient"/> with a key.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service, and name of its options.</param>
    /// <param name="configure">Sets the options.</param>
    public static IServiceCollection AddKeyedKvCacheClient(
        this IServiceCollection services, string key, Action<KvCacheClientOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return AddClient(services, key, configure);
    }

    /// <summary>Adds a <see cref="KvCacheClient"/> with a key and with the settings of a section.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service, and name of its options.</param>
    /// <param name="settings">The section.</param>
    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    public static IServiceCollection AddKeyedKvCacheClient(this IServiceCollection services, string key, IConfiguration settings)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return AddClient(services, key, settings);
    }

    /// <summary>Adds a <see cref="LocalKvCache"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="size">Size of its memory.</param>
    public static IServiceCollection AddLocalKvCache(this IServiceCollection services, ByteSize size) => AddLocal(services, null, size);

    /// <summary>Adds a <see cref="LocalKvCache"/> with a key.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service.</param>
    /// <param name="size">Size of its memory.</param>
    public static IServiceCollection AddKeyedLocalKvCache(this IServiceCollection services, string key, ByteSize size)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return AddLocal(services, key, size);
    }

    /// <summary>Adds a <see cref="TieredKvCache"/> over two caches that have keys.</summary>
    /// <param name="services">The services.</param>
    /// <param name="near">Key of the near cache.</param>
    /// <param name="far">Key of the far cache.</param>
    /// <param name="nearLife">Longest life of copies in the near cache; null for <see cref="TieredKvCache.NearLife"/>'s default.</param>
    public static IServiceCollection AddTieredKvCache(
        this IServiceCollection services, string near, string far, TimeSpan? nearLife = null) =>
        AddTiered(services, null, near, far, nearLife);

    /// <summary>Adds a <see cref="TieredKvCache"/> with a key over two caches that have other keys.</summary>
    /// <param name="services">The services.</param>
    /// <param name="key">Key of the service.</param>
    /// <param name="near">Key of the near cache.</param>
    /// <param name="far">Key of the far cache.</param>
    /// <param name="nearLife">Longest life of copies in the near cache; null for <see cref="TieredKvCache.NearLife"/>'s default.</param>
    public static IServiceCollection AddKeyedTieredKvCache(
        this IServiceCollection services, string key, string near, string far, TimeSpan? nearLife = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return AddTiered(services, key, near, far, nearLife);
    }

    /// <summary>Adds a check that is healthy while a cache answers.</summary>
    /// <param name="builder">The checks.</param>
    /// <param name="name">Name of the check.</param>
    /// <param name="cache">Key of the cache; null for the <see cref="IKvCache"/> without a key.</param>
    /// <param name="failureStatus">What is told while the cache does not answer. Default degraded: without a cache everything is computed.
    /// </param>
    /// <param name="tags">Tags of the check.</param>
    public static IHealthChecksBuilder AddKvCache(
        this IHealthChecksBuilder builder, string name = "kvcache", string? cache = null,
        HealthStatus failureStatus = HealthStatus.Degraded, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(name);
        CacheRegistration.AddOptions<HealthSettings, HealthSettings.Validator>(builder.Services, name).Configure(
            settings => settings.Cache = cache);
        return builder.Add(new HealthCheckRegistration(
            name,
            provider => new CacheHealthCheck(CacheRegistration.Get<IKvCache>(
                provider, CacheRegistration.GetOptions<HealthSettings>(provider, name).Cache)),
            failureStatus,
            tags));
    }

    private static IServiceCollection AddClient(IServiceCollection services, string? key, Action<KvCacheClientOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return AddClient(services, key)?.Configure(configure).Services ?? services;
    }

    [RequiresUnreferencedCode(CacheRegistration.Trimming)]
    [RequiresDynamicCode(CacheRegistration.Trimming)]
    private static IServiceCollection AddClient(IServiceCollection services, string? key, IConfiguration settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        if (AddClient(services, key) is { } options)
            CacheRegistration.Bind(options, settings);
        return services;
    }

    private static OptionsBuilder<KvCacheClientOptions>? AddClient(IServiceCollection services, string? key)
    {
        var isNew = CacheRegistration.TryAdd(services, key, provider => new KvCacheClient(
            CacheRegistration.GetOptions<KvCacheClientOptions>(provider, key), provider.GetService<ILoggerFactory>()));
        if (!isNew)
            return null;
        services.AddSingleton<IHostedService>(provider => new StartWithHost(CacheRegistration.Get<KvCacheClient>(provider, key)));
        return CacheRegistration.AddOptions<KvCacheClientOptions, KvCacheClientOptionsValidator>(services, key);
    }

    private static IServiceCollection AddLocal(IServiceCollection services, string? key, ByteSize size)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentOutOfRangeException.ThrowIfLessThan(size.Bytes, 1, nameof(size));
        CacheRegistration.TryAdd(services, key, _ => new LocalKvCache(size));
        return services;
    }

    private static IServiceCollection AddTiered(IServiceCollection services, string? key, string near, string far, TimeSpan? nearLife)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(near);
        ArgumentException.ThrowIfNullOrEmpty(far);
        if (near == far)
            throw new ArgumentException($"The near and the far cache are both '{far}'; two keys were expected.", nameof(far));
        if (TieredSettings.IsMadeOf(services, near, key) || TieredSettings.IsMadeOf(services, far, key))
            throw new ArgumentException($"'{key}' would be made of itself; other caches were expected.", nameof(far));
        if (nearLife <= TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(nearLife), nearLife, "Copies have to live longer than zero.");
        var isNew = CacheRegistration.TryAdd(services, key, provider =>
        {
            var settings = CacheRegistration.GetOptions<TieredSettings>(provider, key);
            var nearCache = provider.GetRequiredKeyedService<IKvCache>(settings.Near);
            var farCache = provider.GetRequiredKeyedService<IKvCache>(settings.Far);
            return settings.NearLife is { } life
                ? new TieredKvCache(nearCache, farCache) { NearLife = life }
                : new TieredKvCache(nearCache, farCache);
        });
        if (isNew)
            CacheRegistration.AddOptions<TieredSettings, TieredSettings.Validator>(services, key).Configure(
                settings => (settings.Near, settings.Far, settings.NearLife) = (near, far, nearLife));
        return services;
    }

    private sealed class StartWithHost(KvCacheClient client) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            client.WarmUp();
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
