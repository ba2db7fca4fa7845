using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Client;

/// <summary>Registration of the client.</summary>
public static class KvCacheClientServices
{
    /// <summary>Adds a <see cref="KvCacheClient"/> as the singleton <see cref="IKvCache"/>. A host validates its options and begins to
    /// connect it when it starts (<see cref="KvCacheClient.WarmUp"/>); without a host that comes with the first use.</summary>
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
        services.AddHostedService<StartWithHost>();
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
