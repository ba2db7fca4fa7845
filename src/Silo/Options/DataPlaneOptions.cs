using System.ComponentModel.DataAnnotations;
using System.Net;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Security;

namespace KvCache.Silo.Options;

/// <summary>The block server: where it listens and what it bears.</summary>
internal sealed class DataPlaneOptions : ConnectionOptions, IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:DataPlane";

    /// <summary>
    /// TCP address, <c>ip:port</c>; port 0 takes a free one, empty listens on no TCP port. Default 127.0.0.1:7400. An address
    /// that other machines reach needs tenants with secrets.
    /// </summary>
    public string Tcp { get; set; } = "127.0.0.1:7400";

    /// <summary>Path of a Unix socket; empty for none (the default). Its folder is made where it is missing.</summary>
    public string Unix { get; set; } = "";

    /// <summary>Mode of the Unix socket, octal. Default 0600: the silo's user alone. Engines of other users need 0660 and a
    /// group.</summary>
    public string UnixMode { get; set; } = "0600";

    /// <summary>Group of the Unix socket, name or number. Default empty: that of the silo's user.</summary>
    public string UnixGroup { get; set; } = "";

    /// <summary>Address that is told to others, when it is not the one listened on (containers, NAT). Default empty.</summary>
    public string Advertised { get; set; } = "";

    /// <summary>Longest hold that a match may ask for. Default 30 s; longer requests get this.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan MaxHold { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Share of the arena that the holds of one connection may keep from eviction, 0 to 1. Default 0.25.</summary>
    [Range(0.0, 1.0)]
    public double MaxHeldShare { get; set; } = 0.25;

    /// <summary>Most namespaces that one connection may open. Default 1024.</summary>
    [Range(1, 1_000_000)]
    public int MaxNamespaces { get; set; } = 1024;

    /// <summary>Blocks of one put whose grain calls and memory are prepared ahead of the bytes. Default 4.</summary>
    [Range(1, 256)]
    public int PutWindow { get; set; } = 4;

    /// <summary>
    /// Longest time that a reader who follows a running write waits for its begin, and then for each layer, 0 to 10 minutes. Default 5 s;
    /// then the reader is told that the block does not come.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:10:00")]
    public TimeSpan FollowPatience { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Whether clients on the Unix socket may map the arena and read blocks in place. Default off: a mapping shows the whole arena, every
    /// tenant's blocks included, so it is for clients that are trusted with all of them. Needs a Unix socket and an arena file.
    /// </summary>
    public bool SharedMemory { get; set; }

    /// <summary>Share of the arena that one process may lease by reading in place, 0 to 1. Default 0.25.</summary>
    [Range(0.0, 1.0)]
    public double MaxMappedShare { get; set; } = 0.25;

    /// <summary>Largest segment that a connection gets to hand blocks over in. Default 64 MiB; it is not part of the arena.</summary>
    public ByteSize MaxSegmentBytes { get; set; } = ByteSize.MiB(64);

    /// <summary>Memory for all segments together, which every tenant has its part of. Default 1 GiB; it is not part of the arena.</summary>
    public ByteSize MaxSegmentsBytes { get; set; } = ByteSize.MiB(1024);

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Tcp.Length > 0 && !ListenAddress.TryParse(Tcp, out _))
            yield return new ValidationResult(
                $"{Section}:Tcp is '{Tcp}'; {ListenAddress.Expected} 127.0.0.1:7400.", [nameof(Tcp)]);
        if (Advertised.Length > 0 && SiloEndpoint.TryParse("tcp:" + Advertised) is null)
            yield return new ValidationResult(
                $"{Section}:Advertised is '{Advertised}'; host:port was expected, for example 10.0.0.7:7400.", [nameof(Advertised)]);
        if (Tcp.Length == 0 && Unix.Length == 0)
            yield return new ValidationResult($"{Section} has neither Tcp nor Unix; at least one was expected.", [nameof(Tcp)]);
        if (Unix.Length > 0 && (!Path.IsPathFullyQualified(Unix) || System.Text.Encoding.UTF8.GetByteCount(Unix) > 107))
            yield return new ValidationResult(
                $"{Section}:Unix is '{Unix}'; an absolute path of at most 107 bytes was expected.", [nameof(Unix)]);
        if (Unix.Length > 0 && UnixAccess.FindProblem($"{Section}:Unix", UnixMode, UnixGroup) is { } access)
            yield return new ValidationResult(access, [nameof(UnixMode)]);
        if (SharedMemory && Unix.Length == 0)
            yield return new ValidationResult(
                $"{Section}:SharedMemory is on, and Unix is empty; memory is shared over a Unix socket.", [nameof(SharedMemory)]);
        if (MaxSegmentBytes.Bytes < Arena.PageBytes)
            yield return new ValidationResult(
                $"{Section}:MaxSegmentBytes is {MaxSegmentBytes}; at least 4KiB was expected.", [nameof(MaxSegmentBytes)]);
        if (MaxSegmentsBytes.Bytes < MaxSegmentBytes.Bytes)
            yield return new ValidationResult(
                $"{Section}:MaxSegmentsBytes is {MaxSegmentsBytes}; at least MaxSegmentBytes, {MaxSegmentBytes}, was expected.",
                [nameof(MaxSegmentsBytes)]);
        foreach (var result in ValidateBuffer(Section))
            yield return result;
    }
}
