using System.ComponentModel.DataAnnotations;

namespace KvCache.Silo.Options;

/// <summary>How files of certificates, secrets and keys are followed.</summary>
internal sealed class ReloadOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Reload";

    /// <summary>Time between two looks at the files. Default 2 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "1.00:00:00")]
    public TimeSpan Interval { get; set; } = TimeSpan.FromSeconds(2);
}
