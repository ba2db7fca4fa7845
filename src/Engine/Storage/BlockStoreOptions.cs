using System.ComponentModel.DataAnnotations;
using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <summary>Limits of a <see cref="BlockStore"/>.</summary>
internal sealed class BlockStoreOptions
{
    /// <summary>
    /// Largest share of the arena that pinned blocks may take, 0 to 0.95. Default 0.5: past it a pin is refused, so that
    /// pins cannot starve everybody else.
    /// </summary>
    [Range(0, 0.95)]
    public double MaxPinnedShare { get; set; } = 0.5;

    /// <summary>
    /// Largest share of a tenant's part of the arena that may be being written, 0.01 to 1. Default 0.5. A tenant's part is its guaranteed
    /// share, or an equal part of what is guaranteed to nobody; without configured tenants it is the whole arena. One block at a time may
    /// be larger.
    /// </summary>
    [Range(0.01, 1.0)]
    public double MaxWritingShare { get; set; } = 0.5;

    /// <summary>Largest share of a tenant's part of the arena that holds and mapped leases may keep, over all its connections, 0 to 1.
    /// Default 0.5.</summary>
    [Range(0, 1.0)]
    public double MaxHeldShare { get; set; } = 0.5;

    /// <summary>
    /// Largest share of the arena for copies of blocks that other silos hold, 0 to 1. Default 0.25. Copies are evicted before
    /// everything else.
    /// </summary>
    [Range(0, 1.0)]
    public double MaxCopiedShare { get; set; } = 0.25;

    /// <summary>
    /// What a full arena forgets: <c>default</c>, which learns when blocks are used again, or <c>lru</c>, <c>lru/t</c>, <c>s3fifo/t</c> or
    /// <c>arc/t</c>; docs/eviction.md says what they hit.
    /// </summary>
    [EvictionPolicyName]
    public string Eviction { get; set; } = EvictionPolicies.Default;

    /// <summary>
    /// Longest time that a hint may retain blocks after their last use, 0 to 7 days. Default 1 h; a longer one is cut, and zero grants
    /// none. Retained blocks go after all others of their tenant; only <c>default</c> knows them.
    /// </summary>
    [RetentionRange]
    public TimeSpan MaxRetention { get; set; } = TimeSpan.FromHours(1);
}

/// <summary>A name of <see cref="EvictionPolicies"/>.</summary>
internal sealed class EvictionPolicyNameAttribute : ValidationAttribute
{
    protected override ValidationResult? IsValid(object? value, ValidationContext validationContext) =>
        EvictionPolicies.Names.Contains(value as string)
            ? ValidationResult.Success
            : new ValidationResult(
                $"There is no eviction policy '{value}'; there are {string.Join(", ", EvictionPolicies.Names)}.",
                [validationContext.MemberName!]);
}

/// <summary>A time of <see cref="KeepTerms"/>.</summary>
internal sealed class RetentionRangeAttribute : ValidationAttribute
{
    protected override ValidationResult? IsValid(object? value, ValidationContext validationContext) =>
        value is TimeSpan time && time >= TimeSpan.Zero && time <= KeepTerms.LongestRetention
            ? ValidationResult.Success
            : new ValidationResult(
                $"The longest retention is {value}; zero to {KeepTerms.LongestRetention} was expected.", [validationContext.MemberName!]);
}
