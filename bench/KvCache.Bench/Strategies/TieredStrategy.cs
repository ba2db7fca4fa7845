using KvCache.Bench.Silos;
using KvCache.Client;

namespace KvCache.Bench.Strategies;

/// <summary>
/// A cache in each node's process over one silo that all share. Of the memory, the silo has three quarters and the nodes the rest.
/// </summary>
internal sealed class TieredStrategy : ICacheStrategy
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly CacheNamespace _ns;
    private readonly BenchSilo _silo;
    private readonly List<TieredKvCache> _caches = [];

    public TieredStrategy(CacheNamespace ns, int nodes, ByteSize total, CancellationToken cancellation)
    {
        _ns = ns;
        _silo = BenchSilo.Launch(new ByteSize(total.Bytes / 4 * 3), withUnix: true);
        _silo.WaitUntilReady(cancellation);
        for (var node = 0; node < nodes; node++)
            _caches.Add(new TieredKvCache(new LocalKvCache(new ByteSize(total.Bytes / 4 / nodes)), _silo.Client("unix", Patience)));
    }

    public string Name => "tiered.unix";

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations) =>
        CacheCalls.Load(_caches[node], new KvPrefix(_ns, prompt), destinations);

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources) =>
        CacheCalls.Store(_caches[node], new KvPrefix(_ns, prompt), first, sources);

    public void Dispose()
    {
        foreach (var cache in _caches)
            CacheCalls.Dispose(cache);
        _silo.Dispose();
    }
}
