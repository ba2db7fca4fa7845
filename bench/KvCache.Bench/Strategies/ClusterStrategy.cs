using KvCache.Bench.Silos;
using KvCache.Benchmarks.Strategies;

namespace KvCache.Bench.Strategies;

/// <summary>
/// Every node has a silo of its own beside it, and the silos are a cluster: a node stores into its own, and finds what any of them has.
/// Over TCP, or with the
/// own silo's memory mapped; other silos are read through sockets.
/// </summary>
internal sealed class ClusterStrategy : CacheStrategy
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly BenchCluster _cluster;

    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="nodes">Nodes, and silos.</param>
    /// <param name="total">Memory of all silos.</param>
    /// <param name="transport"><c>tcp</c> or <c>shm</c>.</param>
    /// <param name="cancellation">Interrupts the start.</param>
    public ClusterStrategy(CacheNamespace ns, int nodes, ByteSize total, string transport, CancellationToken cancellation)
        : this(ns, transport, new BenchCluster(nodes, total, withUnix: transport == "shm", cancellation))
    {
    }

    private ClusterStrategy(CacheNamespace ns, string transport, BenchCluster cluster)
        : base($"cluster.{transport}", ns, [.. cluster.Silos.Select(silo => silo.Client(transport, Patience))]) => _cluster = cluster;

    public override void Dispose()
    {
        base.Dispose();
        _cluster.Dispose();
    }
}
