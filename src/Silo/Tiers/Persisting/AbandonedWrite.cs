namespace KvCache.Silo.Tiers.Persisting;

/// <summary>A connection that was given up within a SET, which Redis may still find in its buffers.</summary>
/// <param name="ConnectionName">Name of the connection.</param>
/// <param name="ConnectionId">Redis' id of it.</param>
internal readonly record struct AbandonedWrite(string ConnectionName, long ConnectionId);
