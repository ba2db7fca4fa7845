namespace KvCache.Engine.Storage;

/// <summary>
/// Hears what becomes visible in a store and what goes, in the order in which it happens. Called under the store's lock: short, and never
/// back into the store.
/// </summary>
internal interface IBlockObserver
{
    /// <summary>Whether a generation may still become visible, or was deleted while it was being written.</summary>
    bool MayPublish(BlockKey key, ulong generation);

    /// <summary>Whether a block that is not here is known to be somewhere else, where what comes behind it can be reached from.</summary>
    bool IsElsewhere(BlockKey key);

    /// <summary>A block is visible.</summary>
    /// <param name="key">The block.</param>
    /// <param name="generation">Its generation.</param>
    /// <param name="replaces">Whether older ones are not to be read any more.</param>
    void Published(BlockKey key, ulong generation, bool replaces);

    /// <summary>A block is no longer visible.</summary>
    void Removed(BlockKey key, ulong generation);

    /// <summary>A block that is not visible came to a tier below, or went from there.</summary>
    void Settled(BlockKey key);
}
