namespace KvCache.Engine.Storage;

/// <summary>Where a block stands in its prefix and in the request that wrote it: what eviction and read-ahead need.</summary>
/// <param name="Parent">Hash of the block before it, or zero for the first block or when there is no chain.</param>
/// <param name="Depth">Index of the block in its chain, from 0.</param>
/// <param name="RequestId">Request whose prefill produced the block; 0 when unknown.</param>
/// <param name="SuffixTokens">Tokens that the request appended behind what was cached; 0 when unknown.</param>
internal readonly record struct BlockLineage(BlockHash Parent, int Depth, ulong RequestId, int SuffixTokens);
