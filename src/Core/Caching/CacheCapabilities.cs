namespace KvCache;

/// <summary>
/// What a cache can do beyond what all of them do: find, load, store, delete, clear and expire blocks, whole or some layers of them.
/// </summary>
/// <remarks>What a cache cannot do is no error: the call does what the flag says. So an engine asks only where it has another
/// way.</remarks>
[Flags]
public enum CacheCapabilities
{
    /// <summary>No more than all caches do.</summary>
    None = 0,

    /// <summary>A match can keep what it has found from eviction. Without it nothing is kept, or only what lies near.</summary>
    Hold = 1,

    /// <summary>Blocks can be pinned. Without it <see cref="IKvCache.PinAsync"/> answers 0.</summary>
    Pin = 2,

    /// <summary>Writes that are under way can be followed. Without it <see cref="IKvCache.FollowLayersAsync"/> loads what is stored.
    /// </summary>
    Follow = 4,

    /// <summary>Layers of a load are handed out one by one as they come. Without it all of them come with the whole blocks.</summary>
    LoadLayers = 8,

    /// <summary>Layers of a store are taken one by one as they are ready. Without it they are taken when the last one is.</summary>
    StoreLayers = 16,

    /// <summary><see cref="CacheHint"/>s change what is forgotten first. Without it they change nothing.</summary>
    Hints = 32,

    /// <summary>Blocks can survive whoever stored them (<see cref="Durability.Persisted"/>), where a Redis is there for it. Without it they
    /// go with the memory that they are in.</summary>
    Durability = 64,

    /// <summary>More than one copy can be asked for (<see cref="StoreOptions.Replicas"/>). Without it there is one.</summary>
    Replicas = 128,

    /// <summary>Other processes see what is stored.</summary>
    Shared = 256,
}
