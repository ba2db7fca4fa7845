namespace KvCache.Client.Cluster;

/// <summary>Blocks that one silo is asked for in one request.</summary>
/// <param name="Silo">Number of the silo in the answer to the locate, or <see cref="FetchPlan.ThroughHome"/>.</param>
/// <param name="Blocks">Indices of the blocks in the load, ascending.</param>
internal sealed record FetchStep(int Silo, List<int> Blocks);
