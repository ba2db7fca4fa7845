using System.ComponentModel.DataAnnotations;

namespace KvCache.Silo.Options;

/// <summary>How silos find each other.</summary>
internal enum ClusterMode
{
    /// <summary>A silo alone.</summary>
    None,

    /// <summary>Silos of one machine; the first one keeps the list of members, and the cluster does not outlive it.</summary>
    Localhost,

    /// <summary>The list of members is in Redis (<c>KvCache:Redis:ConnectionString</c>).</summary>
    Redis,
}

/// <summary>The cluster: how silos find each other and what they do for one another.</summary>
internal sealed class ClusterOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Cluster";

    /// <summary>How silos find each other. Default <see cref="ClusterMode.None"/>: a silo alone.</summary>
    public ClusterMode Mode { get; set; }

    /// <summary>Name of the cluster; silos of one name belong together. Default <c>kvcache</c>.</summary>
    [Required, StringLength(128)]
    public string Name { get; set; } = "kvcache";

    /// <summary>Orleans port of the first silo of a <see cref="ClusterMode.Localhost"/> cluster. Default 0: this silo is the
    /// first.</summary>
    [Range(0, 65_535)]
    public int PrimaryPort { get; set; }

    /// <summary>IP address at which other silos reach this one's Orleans port. Default empty: loopback, or the host's first address with
    /// Redis.</summary>
    public string Address { get; set; } = "";

    /// <summary>
    /// Secret by which silos know each other on Orleans' silo port and on the data plane, at least 16 bytes: whoever knows it reads every
    /// tenant's blocks.
    /// Default empty, with <see cref="ClusterMode.Localhost"/> and without tenants only: then every user of the machine is trusted. A silo
    /// alone makes a random one for itself.
    /// </summary>
    public string Secret { get; set; } = "";

    /// <summary>A second secret that other silos may prove, while the secret is exchanged. Default empty: there is none.</summary>
    public string OtherSecret { get; set; } = "";

    /// <summary>
    /// File with the secret, and with a second one that other silos may prove in a second line, instead of the two settings. Default empty.
    /// Read again when it changes.
    /// </summary>
    public string SecretFile { get; set; } = "";

    /// <summary>Most blocks of other silos that the index knows. Default 4,194,304 (at most 484 MiB); further ones are found only where
    /// they lie. A silo's own blocks are always known to it.</summary>
    [Range(1, int.MaxValue)]
    public int MaxIndexEntries { get; set; } = 4 * 1024 * 1024;

    /// <summary>Most blocks that only Redis has and the index knows. Default 2,097,152 (at most 242 MiB); past it those are forgotten that
    /// were not confirmed lately.</summary>
    [Range(1, int.MaxValue)]
    public int MaxRedisIndexEntries { get; set; } = 2 * 1024 * 1024;

    /// <summary>Reads of a block from afar, within a minute, after which this silo takes a copy. Default 2; 0 for never.</summary>
    [Range(0, 255)]
    public int CopyAfterReads { get; set; } = 2;

    /// <summary>Limit of fetching a block from another silo for a reader. Default 2 s; then the next holder is asked.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:10:00")]
    public TimeSpan FetchTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Blocks that are fetched ahead of the one a reader waits for. Default 4.</summary>
    [Range(0, 256)]
    public int ReadAhead { get; set; } = 4;

    /// <summary>Limit of a small question to another silo. Default 2 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:01:00")]
    public TimeSpan AskTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Limit of a put's question to the grain of its block while some silo is not heard, as the grain may be there. Default 250 ms, which
    /// is less than a client's patience; then the block is stored without an answer.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:01:00")]
    public TimeSpan UnheardAskTimeout { get; set; } = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// Silence after which another silo's blocks are left out of answers until it speaks again. Default 2.5 s. It speaks at least once a
    /// second; death is Orleans' to declare.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:01.500", "00:10:00")]
    public TimeSpan SilenceLimit { get; set; } = TimeSpan.FromSeconds(2.5);

    /// <summary>
    /// How long a silo goes on letting its blocks be read when it hears neither the others nor the list of members. Default 3 s; the same
    /// on all silos, for a deletion is confirmed so long after a silo's death, when that silo knows of it too.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:02.500", "00:01:00")]
    public TimeSpan CutOffLimit { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Time in which a silo that was asked to end gives blocks that it alone has to the silos that stay. Default 20 s; 0 for not at all. A
    /// supervisor's patience has to be ten seconds longer.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan HandOverTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (SecretFile.Length > 0 && Secret.Length > 0)
            yield return new ValidationResult($"{Section} has a Secret and a SecretFile; one of them was expected.", [nameof(SecretFile)]);
        if (Mode == ClusterMode.Redis && Secret.Length == 0 && SecretFile.Length == 0)
            yield return new ValidationResult(
                $"{Section}:Secret is empty, and the silos are found through Redis, by whoever reaches their ports. Set it, the same for "
                + "every silo.", [nameof(Secret)]);
        if (OtherSecret.Length > 0 && Secret.Length == 0)
            yield return new ValidationResult(
                $"{Section}:OtherSecret is set, and Secret is empty; the silo's own secret was expected there.", [nameof(OtherSecret)]);
        foreach (var (name, secret) in new[] { (nameof(Secret), Secret), (nameof(OtherSecret), OtherSecret) })
        {
            if (secret.Length > 0 && System.Text.Encoding.UTF8.GetByteCount(secret) < TenantOptions.MinSecretBytes)
                yield return new ValidationResult(
                    $"{Section}:{name} is too short; at least {TenantOptions.MinSecretBytes} bytes were expected.", [name]);
        }

        if (Address.Length > 0 && !System.Net.IPAddress.TryParse(Address, out _))
            yield return new ValidationResult($"{Section}:Address is '{Address}'; an IP address was expected.", [nameof(Address)]);
    }
}
