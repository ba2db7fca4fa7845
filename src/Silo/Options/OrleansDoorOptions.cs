using System.ComponentModel.DataAnnotations;

namespace KvCache.Silo.Options;

/// <summary>What Orleans' ports bear from peers, and what clients get. Bound from <c>KvCache:Orleans</c>.</summary>
internal sealed class OrleansDoorOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Orleans";

    /// <summary>Time for the proof ahead of Orleans' own bytes, whatever is sent meanwhile. Default 5 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "00:10:00")]
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Connections of a port that may be without a proof at a time, as at the other endpoints. Default 256.</summary>
    [Range(1, 65_536)]
    public int MaxUnproven { get; set; } = 256;

    /// <summary>Those of one address among them. Default 64; an IPv6 network of 64 bits counts as one address.</summary>
    [Range(1, 65_536)]
    public int MaxUnprovenPerAddress { get; set; } = 64;

    /// <summary>Connections of clients at the gateway that have proved a tenant's secret. Default 512; each tenant may have its part of
    /// them, at least 8.</summary>
    [Range(1, 65_536)]
    public int MaxClients { get; set; } = 512;

    /// <summary>Prefix grains of one tenant that its Orleans clients may have active on a silo, 3 to 4 KiB each. Default 50,000; what
    /// silos themselves call is not bounded by it.</summary>
    [Range(1, 100_000_000)]
    public int MaxActivations { get; set; } = 50_000;

    /// <summary>
    /// Life of a client's ticket. Default 10 minutes: so long a secret that was exchanged can go on calling. Clients fetch a new one at
    /// half of it.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:02", "1.00:00:00")]
    public TimeSpan TicketLife { get; set; } = TimeSpan.FromMinutes(10);
}
