namespace KvCache.Engine.Storage;

/// <summary>What the writer of a block asked for beyond the memory of one silo.</summary>
/// <param name="Copies">Silos that should keep the block; 0 and 1 mean one.</param>
/// <param name="Persisted">Whether it is to be written to Redis.</param>
internal readonly record struct BlockDurability(int Copies = 1, bool Persisted = false);
