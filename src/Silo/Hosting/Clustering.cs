using System.Net;
using System.Net.Sockets;
using KvCache.Silo.Membership;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;
using ClusterOptions = KvCache.Silo.Options.ClusterOptions;

namespace KvCache.Silo.Hosting;

/// <summary>How the silos of a cluster find each other, and when one is dead.</summary>
internal static class Clustering
{
    private static readonly TimeSpan ProbeTimeout = TimeSpan.FromSeconds(1.5);

    /// <summary>Joins a silo to its cluster by <see cref="ClusterOptions"/>.</summary>
    /// <exception cref="FormatException">A setting is out of its bounds, or Redis is not named.</exception>
    public static ISiloBuilder UseCluster(this ISiloBuilder silo, IConfiguration configuration, SiloPorts ports)
    {
        var options = configuration.GetSection(ClusterOptions.Section).Get<ClusterOptions>() ?? new ClusterOptions();
        switch (options.Mode)
        {
            case ClusterMode.Redis:
                var redis = configuration[$"{RedisTierOptions.Section}:{nameof(RedisTierOptions.ConnectionString)}"];
                if (string.IsNullOrEmpty(redis))
                    throw new FormatException(
                        $"The cluster is to be found in Redis, and {RedisTierOptions.Section}:ConnectionString (--redis) is empty.");
                var endpoint = RedisEndpoint.Create(configuration.GetSection(RedisTierOptions.Section).Get<RedisTierOptions>()!);
                var address = options.Address.Length > 0 ? IPAddress.Parse(options.Address) : OwnAddress(endpoint);
                if (ports.Gateway > 0 && !IPAddress.IsLoopback(address)
                    && !configuration.GetSection(TenantOptions.Section).GetChildren().Any())
                    throw new FormatException(
                        $"The gateway for Orleans clients listens on {address}, which other machines can reach, and no tenant has a "
                        + $"secret. Set {TenantOptions.Section}:NAME:Secret, or leave out --gateway-port.");
                silo.Services.AddSingleton(services => new MemberList(
                    endpoint, services.GetRequiredService<IOptions<RedisTierOptions>>().Value, options.Name));
                silo.Services.AddSingleton<ILocalSiloDetails, LocalMember>().AddSingleton<IMembershipTable, RedisMembership>();
                silo.ConfigureEndpoints(address, ports.Silo, ports.Gateway, listenOnAnyHostAddress: false);
                break;
            default:
                var primary = options is { Mode: ClusterMode.Localhost, PrimaryPort: > 0 }
                    ? new IPEndPoint(IPAddress.Loopback, options.PrimaryPort)
                    : null;
                silo.UseLocalhostClustering(ports.Silo, ports.Gateway, primary);
                break;
        }

        silo.Configure<global::Orleans.Configuration.ClusterOptions>(orleans => orleans.ClusterId = orleans.ServiceId = options.Name);

        // A crash must neither stall the registration of grains nor lose what the survivors know: duplicate activations are harmless here,
        // for blocks are immutable and the store decides what is visible.
#pragma warning disable ORLEANSEXP003 // The directory that loses nothing in a crash is still marked as experimental.
        silo.AddDistributedGrainDirectory();
#pragma warning restore ORLEANSEXP003
        silo.Configure<GrainDirectoryOptions>(directory => directory.RangeLeaseDuration = TimeSpan.Zero);

        // Bulk bytes do not travel on Orleans' connections, so that probes are answered at once even under load: three missed ones are a
        // death.
        silo.Configure<ClusterMembershipOptions>(membership =>
        {
            membership.ProbeTimeout = ProbeTimeout;
            membership.TableRefreshTimeout = TimeSpan.FromSeconds(5);

            // Who has not said for three times this long that it lives is not waited for by a silo that starts, and has no vote: all of
            // them died at once, perhaps.
            membership.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(2);

            // Silos gossip in times of their own: one whose clock is behind would be taken for one that has been joining for hours. A
            // silo that dies while it joins is found out by probes, as any other.
            membership.EvictWhenMaxJoinAttemptTimeExceeded = false;
            membership.DefunctSiloCleanupPeriod = TimeSpan.FromMinutes(10);
            membership.DefunctSiloExpiration = TimeSpan.FromMinutes(30);
        });
        return silo;
    }

    // The address of this host that faces Redis is one that the other silos can reach too.
    private static IPAddress OwnAddress(RedisEndpoint redis)
    {
        if (redis.Address is UnixDomainSocketEndPoint)
            return IPAddress.Loopback;
        using var probe = new Socket(SocketType.Dgram, ProtocolType.Udp);
        probe.Connect(redis.Address);
        var address = ((IPEndPoint)probe.LocalEndPoint!).Address;
        return address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
    }
}
