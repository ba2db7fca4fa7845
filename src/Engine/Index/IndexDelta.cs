namespace KvCache.Engine.Index;

/// <summary>What a silo says about a block.</summary>
internal enum IndexOperation : byte
{
    /// <summary>The block is visible on this silo.</summary>
    Added = 1,

    /// <summary>The block is no longer visible on this silo.</summary>
    Removed = 2,

    /// <summary>The payload is in Redis.</summary>
    Persisted = 3,

    /// <summary>The payload is no longer in Redis.</summary>
    Unpersisted = 4,

    /// <summary>The block was deleted: every generation below the stamp is dead, wherever it lies.</summary>
    Deleted = 5,

    /// <summary>More blocks of a tenant were deleted than are remembered: every generation of any of its blocks below the stamp may be
    /// dead. The key names the tenant and is empty otherwise. In full copies only; who was there has heard each deletion.</summary>
    Floor = 6,

    /// <summary>Deletions of a tenant with stamps up to this one are no longer remembered by the silo: who comes with blocks of before has
    /// to leave those behind. The key names the tenant and is empty otherwise.</summary>
    Forgotten = 7,

    /// <summary>The silo knows, or has known, every deletion since the stamp. The key is empty. In full copies only.</summary>
    KnownSince = 8,
}

/// <summary>One numbered statement of a silo about one block; its number is its place in the <see cref="IndexLog"/>.</summary>
/// <param name="Operation">What happened.</param>
/// <param name="Key">To which block.</param>
/// <param name="Stamp">
/// Generation of the block, or for <see cref="IndexOperation.Deleted"/> and <see cref="IndexOperation.Floor"/> the first
/// generation that may live. Generations are
/// time-ordered (Unix milliseconds shifted left by 20 bits, and a counter), so that stamps compare with generations of other silos.
/// </param>
internal readonly record struct IndexDelta(IndexOperation Operation, BlockKey Key, ulong Stamp);
