using System.ComponentModel.DataAnnotations;
using KvCache.Engine.Storage;
using KvCache.Silo.Security;

namespace KvCache.Silo.Options;

/// <summary>The silo's block memory.</summary>
internal sealed class ArenaOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Arena";

    /// <summary>
    /// Size of the arena. Default 1 GiB. This is the silo's whole budget for blocks: it is never exceeded, and blocks are
    /// evicted when it is full.
    /// </summary>
    public ByteSize Size { get; set; } = ByteSize.MiB(1024);

    /// <summary>
    /// Path of the shared-memory file, best under /dev/shm; deleted at shutdown. Default empty:
    /// private memory that no other process can map.
    /// </summary>
    public string Path { get; set; } = "";

    /// <summary>
    /// Mode of the file, octal. Default 0600: the silo's user alone. Engines of other users that read in place need 0640 and a group;
    /// whoever may open the file sees every tenant's blocks.
    /// </summary>
    public string Mode { get; set; } = "0600";

    /// <summary>Group of the file, name or number. Default empty: that of the silo's user.</summary>
    public string Group { get; set; } = "";

    /// <summary>
    /// Whether huge pages are asked for. Default true: blocks are copied a few percent faster. Without them memory that is touched is
    /// exactly what is used, which some hosts want.
    /// </summary>
    public bool HugePages { get; set; } = true;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Size.Bytes < 1 << 20)
            yield return new ValidationResult($"{Section}:Size is {Size}; at least 1MiB was expected.", [nameof(Size)]);
        if (Size.Bytes / Arena.PageBytes > int.MaxValue)
            yield return new ValidationResult($"{Section}:Size is {Size}; at most 8TiB were expected.", [nameof(Size)]);
        if (Path.Length > 0 && UnixAccess.FindProblem($"{Section}:", Mode, Group) is { } access)
            yield return new ValidationResult(access, [nameof(Mode)]);
        if (Path.Length > 0 && !System.IO.Path.IsPathFullyQualified(Path))
            yield return new ValidationResult(
                $"{Section}:Path is '{Path}'; an absolute path was expected, for example /dev/shm/kvcache.arena.", [nameof(Path)]);
    }
}
