using KvCache.Bench.Silos;
using KvCache.Client;

namespace KvCache.Bench.Strategies;

/// <summary>
/// Every node has a silo of its own beside it, and the silos are a cluster: a node stores into its own, and finds what any of them has. Over TCP, or with the
/// own silo's memory mapped; other silos are read through sockets.
/// </summary>
internal sealed class ClusterStrategy : ICacheStrategy
{
    // All nodes and silos share this machine's cores. A deadline that was missed for that alone would count as a miss.
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
        var isShared = transport == "shm";
        _cluster = new BenchCluster(nodes, total, isShared, cancellation);
        foreach (var silo in _cluster.Silos)
        {
            var options = new KvCacheClientOptions { MatchTimeout = Patience, LoadTimeout = Patience, SiloPatience = Patience, SharedMemory = isShared };
            options.Endpoints.Add(silo.Address(isShared ? "unix" : "tcp"));
            _clients.Add(new KvCacheClient(options));
        }
    }

    public string Name { get; }

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var prefix = new KvPrefix(_ns, prompt);
        var found = Wait(_clients[node].MatchAsync(prefix)).Blocks;
        return found == 0 ? 0 : Wait(_clients[node].LoadAsync(prefix, 0, [.. destinations.Take(found)])).Blocks;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        if (first < prompt.BlockCount)
            Wait(_clients[node].StoreAsync(new KvPrefix(_ns, prompt), first, [.. sources.Skip(first)], new StoreOptions(SuffixTokens: (prompt.BlockCount - first) * prompt.TokensPerBlock)));
    }

    public void Dispose()
    {
        foreach (var client in _clients)
            client.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _cluster.Dispose();
    }

    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();
}
