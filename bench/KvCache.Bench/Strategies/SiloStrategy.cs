using KvCache.Bench.Silos;
using KvCache.Benchmarks.Strategies;
using KvCache.Engine.Wire;

namespace KvCache.Bench.Strategies;

/// <summary>All nodes share a silo, each by a connection of its own.</summary>
internal sealed class SiloStrategy : ICacheStrategy
{
    private readonly CacheNamespace _ns;
    private readonly BenchSilo _silo;
    private readonly BlockConnection[] _connections;

    public SiloStrategy(CacheNamespace ns, int nodes, ByteSize total, string transport, CancellationToken cancellation)
    {
        Name = $"silo.{transport}";
        _ns = ns;
        _silo = BenchSilo.Launch(total, withUnix: true);
        _silo.WaitUntilReady(cancellation);
        _connections = [.. Enumerable.Range(0, nodes).Select(_ => _silo.Connect(transport))];
    }

    public string Name { get; }

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var connection = _connections[node];
        var found = connection.Match([_ns], prompt.Hashes, TimeSpan.Zero).Found;
        var delivered = 0;
        if (found > 0)
            connection.Get(_ns, prompt.Hashes[..found], _ns.Layout.AllLayers, destinations, 0, localOnly: false, ref delivered);
        return delivered;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        var parent = first == 0 ? default : prompt.Hashes[first - 1];
        if (first < prompt.BlockCount)
            _connections[node]
                .Put(_ns, prompt.Hashes[first..], parent, first, sources, first,
                new StoreOptions(SuffixTokens: (prompt.BlockCount - first) * prompt.TokensPerBlock));
    }

    public void Dispose()
    {
        foreach (var connection in _connections)
            connection.Dispose();
        _silo.Dispose();
    }
}
