using System.ComponentModel.DataAnnotations;

namespace KvCache.Silo.Options;

/// <summary>Recordings of a silo's load, which an administrator asks for (<c>POST /admin/record</c>).</summary>
internal sealed class RecordingOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Recording";

    /// <summary>Longest recording. Default 24 h; zero allows none.</summary>
    [Range(typeof(TimeSpan), "0", "30.00:00:00")]
    public TimeSpan MaxDuration { get; set; } = TimeSpan.FromDays(1);

    /// <summary>Compressed size at which a recording ends. Default 256 MiB.</summary>
    public ByteSize MaxSize { get; set; } = ByteSize.MiB(256);

    /// <summary>Different blocks at which a recording ends. Default 4,000,000; the silo remembers about 40 bytes of each
    /// meanwhile.</summary>
    [Range(1, 100_000_000)]
    public int MaxBlocks { get; set; } = 4_000_000;

    /// <summary>Time that a request is waited for before it is written, until its put and its hint have come. Default 2 min.</summary>
    [Range(typeof(TimeSpan), "0", "1.00:00:00")]
    public TimeSpan Patience { get; set; } = TimeSpan.FromMinutes(2);
}
