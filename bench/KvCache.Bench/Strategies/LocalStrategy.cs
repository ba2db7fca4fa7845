using KvCache.Client;

namespace KvCache.Bench.Strategies;

/// <summary>Every node has a cache in its own process: nothing is faster to read, and no node has what another one computed.</summary>
internal sealed class LocalStrategy(CacheNamespace ns, int nodes, ByteSize total) : ICacheStrategy
{
    private readonly LocalKvCache[] _caches =
        [.. Enumerable.Range(0, nodes).Select(_ => new LocalKvCache(new ByteSize(total.Bytes / nodes)))];

    public string Name => "local";

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations) =>
        CacheCalls.Load(_caches[node], new KvPrefix(ns, prompt), destinations);

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources) =>
        CacheCalls.Store(_caches[node], new KvPrefix(ns, prompt), first, sources);

    public void Dispose()
    {
        foreach (var cache in _caches)
            CacheCalls.Dispose(cache);
    }
}
