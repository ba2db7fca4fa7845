using KvCache.Bench.Silos;
using KvCache.Benchmarks.Strategies;
using KvCache.Client;

namespace KvCache.Bench.Strategies;

/// <summary>
/// A cache in each node's process over one silo that all share. Of the memory, the silo has three quarters and the nodes the rest.
/// </summary>
internal sealed class TieredStrategy : CacheStrategy
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly BenchSilo _silo;

    private TieredStrategy(CacheNamespace ns, int nodes, ByteSize total, BenchSilo silo)
        : base("tiered.unix", ns, [.. Enumerable.Range(0, nodes).Select(_ =>
            new TieredKvCache(new LocalKvCache(new ByteSize(total.Bytes / 4 / nodes)), silo.Client("unix", Patience)))]) => _silo = silo;

    public static TieredStrategy Start(CacheNamespace ns, int nodes, ByteSize total, CancellationToken cancellation)
    {
        var silo = BenchSilo.Launch(new ByteSize(total.Bytes / 4 * 3), withUnix: true);
        silo.WaitUntilReady(cancellation);
        return new TieredStrategy(ns, nodes, total, silo);
    }

    public override void Dispose()
    {
        base.Dispose();
        _silo.Dispose();
    }
}
