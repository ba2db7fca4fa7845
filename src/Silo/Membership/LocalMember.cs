using System.Net;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Runtime;

namespace KvCache.Silo.Membership;

/// <summary>
/// Who this silo is among the members. Orleans takes the clock for the number of a start; where the list of members has a later one of
/// this address, because the clock was ahead once or is behind now, the number after that is taken: the cluster would take the silo for
/// an old one that is still there, and end it.
/// </summary>
internal sealed class LocalMember(
    MemberList list, IOptions<SiloOptions> silo, IOptions<ClusterOptions> cluster, IOptions<EndpointOptions> endpoints) : ILocalSiloDetails
{
    private readonly Lazy<SiloAddress> _address = new(() => Create(list, endpoints.Value));

    public string Name => silo.Value.SiloName;

    public string ClusterId => cluster.Value.ClusterId;

    public string DnsHostName { get; } = Dns.GetHostName();

    public SiloAddress SiloAddress => _address.Value;

    public SiloAddress GatewayAddress => endpoints.Value.GatewayPort == 0
        ? null!
        : SiloAddress.New(endpoints.Value.AdvertisedIPAddress, endpoints.Value.GatewayPort, 0);

    private static SiloAddress Create(MemberList list, EndpointOptions options)
    {
        var address = new IPEndPoint(options.AdvertisedIPAddress, options.SiloPort);
        var generation = SiloAddress.AllocateNewGeneration();
        try
        {
            foreach (var entry in list.Read().Entries)
            {
                if (entry.SiloAddress.Endpoint.Equals(address))
                    generation = Math.Max(generation, entry.SiloAddress.Generation + 1);
            }
        }
        catch (RedisException)
        {
            // The start looks at Redis first; when it goes right behind that, the cluster's own checks are left.
        }

        return SiloAddress.New(address, generation);
    }
}
