namespace KvCache;

/// <summary>
/// What it costs to have the KV of one token from a tier, relative to computing it: 0 is free, 1 is no better than computing.
/// </summary>
/// <remarks>
/// The defaults suit a model of 8 billion parameters (128 KiB a token) whose prefill takes 0.1 ms a token: shared memory or a local socket
/// brings a token in 10 µs, another silo
/// in 20 µs, Redis in 50 µs. Larger models shift them down: their prefill grows faster than their KV.
/// </remarks>
/// <param name="Memory">From the silo beside the engine. Default 0.1.</param>
/// <param name="Cluster">From another silo. Default 0.2.</param>
/// <param name="Redis">From Redis. Default 0.5.</param>
public sealed record RouteWeights(double Memory = 0.1, double Cluster = 0.2, double Redis = 0.5)
{
    /// <summary>Whether all weights lie in 0 to 1.</summary>
    public bool IsValid => Memory is >= 0 and <= 1 && Cluster is >= 0 and <= 1 && Redis is >= 0 and <= 1;
}
