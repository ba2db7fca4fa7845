using KvCache.Client;
using KvCache.Orleans;
using KvCache.TorchSharp;

namespace KvCache.Bench.Strategies;

/// <summary>Every node has a cache in its own process: nothing is faster to read, and no node has what another one computed.</summary>
internal sealed class LocalStrategy(CacheNamespace ns, int nodes, ByteSize total) : ICacheStrategy
{
    private readonly LocalKvCache[] _caches =
        [.. Enumerable.Range(0, nodes).Select(_ => new LocalKvCache(new ByteSize(total.Bytes / nodes)))];

    public string Name => "local";

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations)
    {
        var prefix = new KvPrefix(ns, prompt);
        var found = _caches[node].MatchAsync(prefix).AsTask().GetAwaiter().GetResult().Blocks;
        return found == 0 ? 0 : _caches[node].LoadAsync(prefix, 0, [.. destinations.Take(found)]).AsTask().GetAwaiter().GetResult().Blocks;
    }

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources) =>
        _caches[node].StoreAsync(new KvPrefix(ns, prompt), first, [.. sources.Skip(first)]).AsTask().GetAwaiter().GetResult();

    public void Dispose()
    {
        foreach (var cache in _caches)
            cache.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
}
