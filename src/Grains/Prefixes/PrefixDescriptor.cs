namespace KvCache.Grains;

/// <summary>
/// What a prefix grain keeps across activations, in the grain storage named <see cref="StorageName"/>. Small: the bytes of
/// a block are never part of it.
/// </summary>
[GenerateSerializer, Alias("KvCache.PrefixDescriptor")]
public sealed class PrefixDescriptor
{
    /// <summary>Name of the grain storage provider.</summary>
    public const string StorageName = "kvcache";

    /// <summary>Generation that was pinned, or 0.</summary>
    [Id(0)]
    public ulong Generation { get; set; }

    /// <summary>End of the pin.</summary>
    [Id(1)]
    public DateTimeOffset PinnedUntil { get; set; }
}
