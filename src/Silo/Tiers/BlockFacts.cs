using KvCache.Storage;

namespace KvCache.Silo;

/// <summary>What Redis keeps of a block beside its bytes, so that a promoted block is treated as it was before.</summary>
/// <param name="ExpiresAt">End of its life; null when it has none.</param>
/// <param name="Lineage">Where it stands in its prefix.</param>
/// <param name="Copies">How many silos should keep it; 0 when nobody asked for a number.</param>
public readonly record struct BlockFacts(DateTimeOffset? ExpiresAt = null, BlockLineage Lineage = default, byte Copies = 0);
