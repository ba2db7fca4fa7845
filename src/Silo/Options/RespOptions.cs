using System.ComponentModel.DataAnnotations;
using System.Net;
using KvCache.Engine.Wire;
using KvCache.Silo.Values;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Options;

/// <summary>The Redis endpoint: values of clients that speak Redis' protocol, in the same store as everything else.</summary>
internal sealed class RespOptions : ConnectionOptions, IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Resp";

    /// <summary>Sets the defaults that differ from the data plane's.</summary>
    public RespOptions() => IdleTimeout = TimeSpan.FromDays(1);

    /// <summary>
    /// TCP address, <c>ip:port</c>; port 0 takes a free one. Default empty: off. An address that other machines reach needs tenants with
    /// secrets, and a network that nobody listens in on: Redis' AUTH sends the secret itself.
    /// </summary>
    public string Listen { get; set; } = "";

    /// <summary>Model name of the namespace of a tenant's values. Default <c>redis</c>. Silos of a cluster that share values have the
    /// same.</summary>
    [Required, StringLength(CacheNamespace.MaxTextBytes)]
    public string Model { get; set; } = "redis";

    /// <summary>Longest key, in bytes. Default 1024. It is kept beside the value.</summary>
    [Range(1, ValueBlocks.MaxLabelBytes)]
    public int MaxKeyBytes { get; set; } = 1024;

    /// <summary>Largest value. Default 512 MiB, as Redis' own limit; at most 64 KiB less than 1 GiB. A client that announces more loses its
    /// connection.</summary>
    public ByteSize MaxValueSize { get; set; } = ByteSize.MiB(512);

    /// <summary>
    /// Share of the arena that the values of one MSET may take, 0.01 to 1. Default 0.25: they become visible together, and cannot be
    /// evicted before.
    /// </summary>
    [Range(0.01, 1.0)]
    public double MaxPendingShare { get; set; } = 0.25;

    /// <summary>Life of values without one of their own. Default 0: as long as memory lasts.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "3650.00:00:00")]
    public TimeSpan TimeToLive { get; set; }

    /// <summary>Whether values are written to Redis behind the silo. Default false.</summary>
    public bool Persist { get; set; }

    /// <summary>Silos that keep a value. Default 1.</summary>
    [Range(1, WireProtocol.MaxCopies)]
    public int Copies { get; set; } = 1;

    /// <summary>Whether FLUSHDB and FLUSHALL delete the tenant's values. Default false: they are refused.</summary>
    public bool AllowFlush { get; set; }

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Listen.Length > 0 && !ListenAddress.TryParse(Listen, out _))
            yield return new ValidationResult(
                $"{Section}:Listen is '{Listen}'; {ListenAddress.Expected} 127.0.0.1:7430.", [nameof(Listen)]);
        if (MaxValueSize.Bytes is < 1 or > ValueBlocks.MaxValueBytes)
            yield return new ValidationResult(
                $"{Section}:MaxValueSize is {MaxValueSize}; 1B to {ValueBlocks.MaxValueBytes} bytes was expected.", [nameof(MaxValueSize)]);
        foreach (var result in ValidateBuffer(Section))
            yield return result;
    }
}

/// <summary>Checks that nothing but loopback is served without secrets.</summary>
internal sealed class RespOptionsValidator(IOptions<TenantOptions> tenants) : IValidateOptions<RespOptions>
{
    public ValidateOptionsResult Validate(string? name, RespOptions options) =>
        tenants.Value.Tenants.Count == 0 && !ConnectionOptions.IsLoopback(options.Listen)
        ? ValidateOptionsResult.Fail(
            $"The Redis endpoint listens on {options.Listen}, which other machines can reach, and no tenant has a secret. Set "
            + $"{TenantOptions.Section}:NAME:Secret, or listen on 127.0.0.1.")
        : ValidateOptionsResult.Success;
}
