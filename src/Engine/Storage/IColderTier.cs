namespace KvCache.Engine.Storage;

/// <summary>
/// Where blocks go that leave a silo's memory, on the same machine. What it has counts as held by the silo: the index names the silo for
/// it.
/// </summary>
internal interface IColderTier
{
    /// <summary>Whether it has a block that can be read. Short; any thread.</summary>
    bool Has(BlockKey key);

    /// <summary>A block is about to be evicted. Called under the store's lock: short, and never back into what takes it.</summary>
    /// <param name="lease">Its bytes; the tier's own when the answer is true.</param>
    /// <param name="wasReused">Whether another request than the one that stored it has used it.</param>
    /// <returns>Whether the tier has it from now on.</returns>
    bool TryTake(BlockLease lease, bool wasReused);

    /// <summary>A block was replaced by a generation: whatever else the tier has of it is old. Called under the store's lock.</summary>
    void Replaced(BlockKey key, ulong generation);

    /// <summary>Drops every generation of a block below a stamp. Waits for nothing.</summary>
    /// <returns>Whether there was one that could be read.</returns>
    bool Bury(BlockKey key, ulong stamp);

    /// <summary>Waits until what was dropped stays dropped also when the silo is killed.</summary>
    /// <returns>False when that took too long.</returns>
    bool Wait();
}
