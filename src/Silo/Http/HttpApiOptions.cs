using System.ComponentModel.DataAnnotations;
using KvCache.Silo.Options;

namespace KvCache.Silo.Http;

/// <summary>
/// The HTTP API. Its address is that of health and metrics; slow senders and readers are bounded by <see
/// cref="ConnectionOptions.FrameTimeout"/> and
/// <see cref="ConnectionOptions.MinBytesPerSecond"/>, as on the data plane.
/// </summary>
internal sealed class HttpApiOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Http";

    /// <summary>Most requests of the API at a time. Default 128; further ones are told to come back (503). Health and metrics do not
    /// count.</summary>
    [Range(1, 65_536)]
    public int MaxRequests { get; set; } = 128;

    /// <summary>
    /// Most connections at a time whose requests have shown a token. Default 512, and at most a quarter of the files that the process may
    /// open: the rest is for the data plane. Those without one have places of their own (<see cref="ConnectionOptions.MaxUnproven"/> of the
    /// data plane).
    /// </summary>
    [Range(1, 65_536)]
    public int MaxConnections { get; set; } = 512;

    /// <summary>Most namespaces that a tenant may have registered with this silo. Default 4096; each costs a few hundred bytes.</summary>
    [Range(1, 1_000_000)]
    public int MaxNamespaces { get; set; } = 4096;

    /// <summary>
    /// Names by which the silo is asked for, in the header Host, beside <c>localhost</c>, the loopback addresses and the address that a
    /// request has come to: of a service, for example. Default none. A name that a stranger chose could make a browser take the silo for
    /// the stranger's own site.
    /// </summary>
    public IList<string> Hosts { get; } = [];

    /// <summary>Largest JSON body, in bytes. Default 2 MiB: room for 16,384 hashes. Blocks are bounded by their layout instead.</summary>
    [Range(1024, 1 << 30)]
    public int MaxJsonBytes { get; set; } = 2 << 20;
}
