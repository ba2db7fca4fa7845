using System.ComponentModel.DataAnnotations;

namespace KvCache.Grains.Prefixes;

/// <summary>Limits of prefix grains.</summary>
internal sealed class PrefixGrainOptions
{
    /// <summary>
    /// Time that a writer has from begin to seal. Default 30 s. Past it the write is revoked and another may begin: a writer
    /// that died blocks its prefix for at most this long.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00")]
    public TimeSpan WriteLimit { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Time that grain storage has to keep, give or forget a descriptor. Default 500 ms. Past it the descriptor is lost, and the grain call
    /// goes on: a slow storage does not make stores and pins slow.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:01:00")]
    public TimeSpan StorageTimeout { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// Largest piece that travels inside a grain call, in bytes. Default 64 KiB, below the large-object threshold of the
    /// runtime; what is larger goes over the data plane.
    /// </summary>
    [Range(1024, 80 * 1024)]
    public int MaxInlineBytes { get; set; } = 64 * 1024;
}
