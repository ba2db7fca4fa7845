namespace KvCache.Grains.Prefixes;

/// <summary>
/// What a prefix grain keeps across activations and silos, in the grain storage named <see cref="StorageName"/>: the pin of a block that
/// outlives silos. Life, shape and generation travel with the payload itself.
/// </summary>
/// <remarks>Written when somebody pins, and read when the block is brought back from Redis. It is advice: the block may have
/// gone.</remarks>
[GenerateSerializer, Alias("KvCache.PrefixDescriptor")]
internal sealed class PrefixDescriptor
{
    /// <summary>Name of the grain storage provider.</summary>
    public const string StorageName = "kvcache";

    /// <summary>End of the pin; long ago when there is none.</summary>
    [Id(0)]
    public DateTimeOffset PinnedUntil { get; set; }

    /// <summary>Whether somebody could make use of it.</summary>
    internal bool IsWorthKeeping => PinnedUntil != default;
}
