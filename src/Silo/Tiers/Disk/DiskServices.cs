using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>Registration of the disk tier.</summary>
internal static class DiskServices
{
    /// <summary>Adds the options, and the <see cref="DiskTier"/> where <c>KvCache:Disk:Path</c> is set. Register it before what uses it, so
    /// that it stops after that.</summary>
    /// <param name="services">Services of the silo.</param>
    /// <param name="configuration">Configuration with the section <c>KvCache</c>.</param>
    public static IServiceCollection AddDiskTier(this IServiceCollection services, IConfiguration configuration)
    {
        var section = configuration.GetSection(DiskOptions.Section);
        services.AddOptions<DiskOptions>().Bind(section).ValidateDataAnnotations().ValidateOnStart();
        if (string.IsNullOrEmpty(section[nameof(DiskOptions.Path)]))
            return services;
        services.AddSingleton<DiskCounters>();
        if (configuration.GetSection(ClusterOptions.Section).GetValue<ClusterMode>(nameof(ClusterOptions.Mode)) == ClusterMode.None)
            services.AddSingleton<IDiskTrust, LoneDiskTrust>();
        else
            services.AddSingleton<IDiskTrust, ClusterDiskTrust>();
        services.AddSingleton<DiskTier>();
        services.AddHostedService(provider => provider.GetRequiredService<DiskTier>());
        return services;
    }
}
