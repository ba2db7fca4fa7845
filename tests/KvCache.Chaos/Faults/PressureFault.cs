using System.Globalization;
using KvCache.Chaos.Worlds;
using KvCache.Client;

namespace KvCache.Chaos.Faults;

/// <summary>Somebody stores more than the arenas hold: everything is evicted all the time.</summary>
internal sealed class PressureFault : Fault
{
    // Large enough to be fast, and small enough that many of them fill an arena.
    private const int BlockBytes = 256 << 10, Blocks = 4, StoresAtOnce = 4;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private volatile bool _isOver;
    private Task _flood = Task.CompletedTask;
    private KvCacheClient[] _clients = [];
    private double[] _evictedBefore = [];
    private int _chain;
    private long _stored;

    public override string Name => "pressure";

    public override string Description => "chains are stored as fast as it goes, until every silo evicts, and some seconds more";

    public override async Task InjectAsync(World world, Random dice)
    {
        _evictedBefore = await EvictedAsync(world).ConfigureAwait(false);
        _clients = [.. world.Silos.Select(silo => world.Connect(silo.Number))];
        var bytes = new byte[BlockBytes];
        dice.NextBytes(bytes);
        var seed = dice.Next();
        var ns = new CacheNamespace { Tenant = World.Tenant, Model = "pressure", Layout = KvLayout.Opaque(BlockBytes, 1) };
        ReadOnlyMemory<byte>[] blocks = [.. Enumerable.Repeat((ReadOnlyMemory<byte>)bytes, Blocks)];
        _flood = Task.WhenAll(_clients.SelectMany(client => Enumerable.Range(0, StoresAtOnce).Select(_ => Task.Run(async () =>
        {
            while (!_isOver)
            {
                int[] tokens = [seed, Interlocked.Increment(ref _chain), .. Enumerable.Range(0, Blocks - 2)];
                var result = await client.StoreAsync(KvPrefix.Of(ns, tokens), 0, blocks).ConfigureAwait(false);
                Interlocked.Add(ref _stored, result.Stored * (long)BlockBytes);
            }
        }))));
        await World.UntilAsync(
            "every silo evicts", async () => (await NewlyEvictedAsync(world).ConfigureAwait(false)).All(blocks => blocks > 0), Limit)
            .ConfigureAwait(false);
    }

    public override async Task CureAsync(World world)
    {
        _isOver = true;
        await _flood.ConfigureAwait(false);
        foreach (var client in _clients)
            await client.DisposeAsync().ConfigureAwait(false);
        var evicted = string.Join(" + ", await NewlyEvictedAsync(world).ConfigureAwait(false));
        Note = string.Create(CultureInfo.InvariantCulture, $"{_stored >> 20} MiB stored, {evicted} blocks evicted");
    }

    private async Task<IEnumerable<double>> NewlyEvictedAsync(World world) =>
        (await EvictedAsync(world).ConfigureAwait(false)).Zip(_evictedBefore, (now, before) => now - before);

    private static Task<double[]> EvictedAsync(World world) => Task.WhenAll(world.Silos.Select(async silo =>
        await silo.MetricAsync("kvcache_store_removed_total", "reason=\"evicted\"").ConfigureAwait(false) ?? 0));
}
