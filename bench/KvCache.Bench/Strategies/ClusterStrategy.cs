using KvCache.Bench.Silos;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.TorchSharp;

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

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var prefix = new KvPrefix(_ns, prompt);
        var found = Wait(_clients[node].MatchAsync(prefix)).Blocks;
        return found == 0 ? 0 : Wait(_clients[node].LoadAsync(prefix, 0, [.. destinations.Take(found)])).Blocks;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        if (first < prompt.BlockCount)
            Wait(_clients[node]
                .StoreAsync(new KvPrefix(_ns, prompt), first, [.. sources.Skip(first)],
                new StoreOptions(SuffixTokens: (prompt.BlockCount - first) * prompt.TokensPerBlock)));
    }

    public void Dispose()
    {
        foreach (var client in _clients)
            client.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _cluster.Dispose();
    }

    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();
}
