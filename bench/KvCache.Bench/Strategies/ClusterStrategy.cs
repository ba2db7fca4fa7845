using KvCache.Bench.Silos;
using KvCache.Client;

namespace KvCache.Bench.Strategies;

/// <summary>
/// Every node has a silo of its own beside it, and the silos are a cluster: a node stores into its own, and finds what any of them has.
/// Over TCP, or with the
/// own silo's memory mapped; other silos are read through sockets.
/// </summary>
internal sealed class ClusterStrategy : ICacheStrategy
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly CacheNamespace _ns;
    private readonly BenchCluster _cluster;
    private readonly List<KvCacheClient> _clients = [];

    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="nodes">Nodes, and silos.</param>
    /// <param name="total">Memory of all silos.</param>
    /// <param name="transport"><c>tcp</c> or <c>shm</c>.</param>
    /// <param name="cancellation">Interrupts the start.</param>
    public ClusterStrategy(CacheNamespace ns, int nodes, ByteSize total, string transport, CancellationToken cancellation)
    {
        Name = $"cluster.{transport}";
        _ns = ns;
        _cluster = new BenchCluster(nodes, total, withUnix: transport == "shm", cancellation);
        foreach (var silo in _cluster.Silos)
            _clients.Add(silo.Client(transport, Patience));
    }

    public string Name { get; }

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations) =>
        CacheCalls.Load(_clients[node], new KvPrefix(_ns, prompt), destinations);

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources) =>
        CacheCalls.Store(_clients[node], new KvPrefix(_ns, prompt), first, sources);

    public void Dispose()
    {
        foreach (var client in _clients)
            CacheCalls.Dispose(client);
        _cluster.Dispose();
    }
}
