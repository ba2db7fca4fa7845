using System.ComponentModel.DataAnnotations;
using System.Net;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Values;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Options;

/// <summary>The <c>lm://</c> endpoint: LMCache's remote protocol. It has no authentication, so that every connection belongs to one
/// configured tenant.</summary>
internal sealed class LmCacheOptions : ConnectionOptions, IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:LmCache";

    /// <summary>Sets the defaults that differ from the data plane's.</summary>
    public LmCacheOptions() => IdleTimeout = TimeSpan.FromDays(1);

    /// <summary>TCP address, <c>ip:port</c>, usually 127.0.0.1:7420; port 0 takes a free one. Default empty: off.</summary>
    public string Listen { get; set; } = "";

    /// <summary>
    /// Whether <see cref="Listen"/> may be an address that other machines reach. Default false: whoever reaches it reads and writes the
    /// tenant's values.
    /// </summary>
    public bool AllowRemote { get; set; }

    /// <summary>Tenant of the values. Default <c>default</c>; where tenants are configured, one of them.</summary>
    [Required, StringLength(CacheNamespace.MaxTextBytes)]
    public string Tenant { get; set; } = TenantRegistry.DefaultTenant;

    /// <summary>Model name of the namespace. Default <c>lmcache</c>; the engine's model is part of LMCache's keys.</summary>
    [Required, StringLength(CacheNamespace.MaxTextBytes)]
    public string Model { get; set; } = "lmcache";

    /// <summary>Largest value. Default 512 MiB, at most 64 KiB less than 1 GiB. A client that announces more loses its
    /// connection.</summary>
    public ByteSize MaxValueSize { get; set; } = ByteSize.MiB(512);

    /// <summary>Life of values. Default 0: as long as memory lasts.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "3650.00:00:00")]
    public TimeSpan TimeToLive { get; set; }

    /// <summary>Whether values are written to Redis behind the silo. Default false.</summary>
    public bool Persist { get; set; }

    /// <summary>Silos that keep a value. Default 1.</summary>
    [Range(1, WireProtocol.MaxCopies)]
    public int Copies { get; set; } = 1;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Listen.Length > 0 && !ListenAddress.TryParse(Listen, out _))
            yield return new ValidationResult(
                $"{Section}:Listen is '{Listen}'; {ListenAddress.Expected} 127.0.0.1:7420.", [nameof(Listen)]);
        if (!AllowRemote && !IsLoopback(Listen))
            yield return new ValidationResult(
                $"{Section}:Listen is {Listen}, which other machines can reach, and the protocol has no authentication. Listen on "
                + $"127.0.0.1, or set {Section}:AllowRemote where the network is trusted.", [nameof(Listen)]);
        if (MaxValueSize.Bytes is < 1 or > ValueBlocks.MaxValueBytes)
            yield return new ValidationResult(
                $"{Section}:MaxValueSize is {MaxValueSize}; 1B to {ValueBlocks.MaxValueBytes} bytes was expected.", [nameof(MaxValueSize)]);
        foreach (var result in ValidateBuffer(Section))
            yield return result;
    }
}

/// <summary>Checks that the tenant of the endpoint is one that exists.</summary>
internal sealed class LmCacheOptionsValidator(IOptions<TenantOptions> tenants) : IValidateOptions<LmCacheOptions>
{
    public ValidateOptionsResult Validate(string? name, LmCacheOptions options) =>
        options.Listen.Length > 0 && tenants.Value.Tenants.Count > 0 && !tenants.Value.Tenants.ContainsKey(options.Tenant)
        ? ValidateOptionsResult.Fail(
            $"{LmCacheOptions.Section}:Tenant is '{options.Tenant}', and {TenantOptions.Section} has no such tenant. Name one of those "
            + "that it has.")
        : ValidateOptionsResult.Success;
}
