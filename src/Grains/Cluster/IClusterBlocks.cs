using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Grains.Cluster;

/// <summary>What a prefix grain, its placement and the front ends of a silo need from the rest of the cluster.</summary>
internal interface IClusterBlocks
{
    /// <summary>Whether there are other silos, as far as this one knows.</summary>
    bool HasOthers { get; }

    /// <summary>Whether all of them have spoken lately.</summary>
    bool HearsAll { get; }

    /// <summary>A silo that lives and has the block according to the index, this one first; null when there is none.</summary>
    SiloAddress? HolderOf(BlockKey key);

    /// <summary>A silo with more room than this one, where this one has hardly any left; else null.</summary>
    SiloAddress? RoomierSilo();

    /// <summary>Whether another silo's store, or Redis, confirms the block. Asks nobody when the index knows of none.</summary>
    ValueTask<bool> IsStoredElsewhereAsync(BlockKey key, CancellationToken cancellationToken = default);

    /// <summary>What has become of a write of a silo, this one or another.</summary>
    ValueTask<WriteState> StateOfWriteAsync(SiloAddress silo, BlockKey key, ulong generation);

    /// <summary>Keeps a write of a silo from becoming visible.</summary>
    ValueTask RevokeAsync(SiloAddress silo, BlockKey key, ulong generation);

    /// <summary>A block of this silo has become visible: copies and Redis are next.</summary>
    /// <param name="key">The block.</param>
    /// <param name="generation">Its generation.</param>
    /// <param name="durability">What its writer asked for.</param>
    /// <param name="replaced">Older generations are to go, wherever they are.</param>
    void Stored(BlockKey key, ulong generation, BlockDurability durability, bool replaced);

    /// <summary>Deletes blocks on every silo and in Redis.</summary>
    /// <returns>
    /// For each block whether it was stored somewhere and is deleted everywhere, or that somebody who may have it has not confirmed the
    /// deletion; then it goes on in the background.
    /// </returns>
    ValueTask<ItemOutcome[]> DeleteAsync(IReadOnlyList<BlockKey> keys, CancellationToken cancellationToken = default);

    /// <summary>Keeps a block from eviction where it lies, or where it is fetched from Redis to; zero or less ends the pin.</summary>
    /// <returns>False when nobody has the block, or pins would take more than their share.</returns>
    ValueTask<bool> PinAsync(BlockKey key, TimeSpan duration, CancellationToken cancellationToken = default);

    /// <summary>Whether a block is in Redis, or on its way there.</summary>
    bool OutlivesSilos(BlockKey key);

    /// <summary>Sets the life of blocks from now on, on every silo and in Redis.</summary>
    /// <returns>For each block: nothing when nobody has it; not confirmed when a silo that may have it, or Redis, did not answer: there it
    /// keeps the life that it has.</returns>
    ValueTask<ItemOutcome[]> SetTimeToLiveAsync(
        IReadOnlyList<BlockKey> keys, TimeSpan timeToLive, CancellationToken cancellationToken = default);

    /// <summary>Passes a hint on to another silo that has blocks of its chain. It may get lost, and nobody waits for it.</summary>
    /// <param name="silo">The silo's bit in masks of holders.</param>
    /// <param name="last">The last block of the chain that the silo has.</param>
    /// <param name="hint">What is known.</param>
    /// <param name="ends">Whether the request is over.</param>
    void PassHint(ulong silo, BlockKey last, CacheHint hint, bool ends);

    /// <summary>A lease on a block of this silo, which takes it from another silo or from Redis when it has to.</summary>
    /// <returns>Null when nobody has it (any more), or there is no room for it here.</returns>
    ValueTask<BlockLease?> FetchAsync(BlockKey key, CancellationToken cancellationToken = default);
}
