namespace KvCache.Grains.Prefixes;

/// <summary>
/// What a prefix grain keeps across activations and silos, in the grain storage named <see cref="StorageName"/>. Small: the bytes of
/// a block are never part of it.
/// </summary>
/// <remarks>
/// It is advice like everything that is said of a block elsewhere: the block may have gone from memory and from Redis meanwhile, each by
/// its own rules.
/// </remarks>
[GenerateSerializer, Alias("KvCache.PrefixDescriptor")]
internal sealed class PrefixDescriptor
{
    /// <summary>Name of the grain storage provider.</summary>
    public const string StorageName = "kvcache";

    /// <summary>Generation that the rest is about; 0 when nothing is known.</summary>
    [Id(0)]
    public ulong Generation { get; set; }

    /// <summary>End of the pin; long ago when there is none.</summary>
    [Id(1)]
    public DateTimeOffset PinnedUntil { get; set; }

    /// <summary>Bytes of the block.</summary>
    [Id(2)]
    public int Bytes { get; set; }

    /// <summary>Canonical encoding of the block's layout (<see cref="KvLayout.WriteTo"/>); empty when unknown.</summary>
    [Id(3)]
    public byte[] Layout { get; set; } = [];

    /// <summary>End of the block's life; null when it has none.</summary>
    [Id(4)]
    public DateTimeOffset? ExpiresAt { get; set; }

    /// <summary>Redis has confirmed the payload of this generation.</summary>
    [Id(5)]
    public bool Persisted { get; set; }

    /// <summary>Whether another activation could make use of it.</summary>
    internal bool IsWorthKeeping => Persisted || PinnedUntil != default;
}
