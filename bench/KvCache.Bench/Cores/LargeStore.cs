using System.Diagnostics;
using System.Runtime.InteropServices;
using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Cores;

/// <summary>What would hold the store's lock for long if it grew with the blocks: many children of one prefix, puts that are refused,
/// expiries at once, tables that grow.</summary>
internal static class LargeStore
{
    private const int Children = 160_000, Refusing = 400_000, Expiring = 100_000, Samples = 2000;
    private static readonly KvLayout Layout = KvLayout.Opaque(Arena.PageBytes, 256), TwoPages = KvLayout.Opaque(2 * Arena.PageBytes, 256);
    private static readonly NamespaceId Namespace = new(new TenantId(1), 2);

    public static void Measure(Action<string> log, List<BenchRow> rows, List<RatioRow> ratios)
    {
        var shape = new RowShape("us", null, 1);
        log($"{Children:N0} children of one prefix");
        double[] under = [PutInto(parent: Hash(0))], alone = [PutInto(parent: default)];
        rows.Add(shape.Row("put.children", under));
        rows.Add(shape.Row("put.roots", alone));
        ratios.Add(shape.Ratio("put.children/put.roots", under, alone));
        log($"refused reserves at {Refusing:N0} blocks");
        rows.AddRange(Refuse(shape));
        log($"{Expiring:N0} expiries at once");
        rows.AddRange(Expire(shape));
    }

    // Median of puts that evict another block each.
    private static double PutInto(BlockHash parent)
    {
        using var store = CoresScenario.Open(Children);
        var samples = new LatencySamples();
        Put(store, Hash(0), default, null);
        for (var number = 1; number < Children + (2 * Samples); number++)
        {
            var began = Stopwatch.GetTimestamp();
            Put(store, Hash(number), parent, null);
            if (number >= Children + Samples)
                samples.Add(began);
        }

        return samples.Microseconds(0.5);
    }

    // Where all is leased, and where every second block is and two pages side by side are wanted; and how long the longest put took by
    // which the store, and so its tables, grew.
    private static IEnumerable<BenchRow> Refuse(RowShape shape)
    {
        using var store = CoresScenario.Open(Refusing);
        LatencySamples growing = new(), leased = new(), fragmented = new();
        for (var number = 0; number < Refusing; number++)
        {
            var (began, collections) = (Stopwatch.GetTimestamp(), GC.CollectionCount(0));
            Put(store, Hash(number), default, null);
            if (GC.CollectionCount(0) == collections) // a pause of the collector is not the store's
                growing.Add(began);
        }

        var leases = Enumerable.Range(0, Refusing).Select(number => store.TryLease(new BlockKey(Namespace, Hash(number)))!).ToArray();
        Try(Layout, leased);
        for (var number = 0; number < Refusing; number += 2)
            leases[number].Dispose();
        Try(TwoPages, fragmented);
        Array.ForEach(leases, lease => lease.Dispose());
        return
        [
            .. Rows(shape, "put.growing", growing),
            .. Rows(shape, "reserve.refused.leased", leased),
            .. Rows(shape, "reserve.refused.fragmented", fragmented),
        ];

        void Try(KvLayout layout, LatencySamples samples)
        {
            for (var number = 0; number < Samples; number++)
            {
                var began = Stopwatch.GetTimestamp();
                using var write = store.TryReserve(new BlockKey(Namespace, Hash(Refusing + number)), layout, default);
                samples.Add(began);
                if (write is not null)
                    throw new InvalidOperationException("There was room where there could be none.");
            }
        }
    }

    // How long another thread waits for the lock meanwhile.
    private static IEnumerable<BenchRow> Expire(RowShape shape)
    {
        using var store = CoresScenario.Open(Expiring);
        for (var number = 0; number < Expiring; number++)
            Put(store, Hash(number), default, TimeSpan.FromSeconds(0));
        var waits = new LatencySamples();
        var done = false;
        var waiting = new Thread(() =>
        {
            while (!Volatile.Read(ref done))
            {
                var began = Stopwatch.GetTimestamp();
                _ = store.GetStatistics();
                waits.Add(began);
            }
        });
        waiting.Start();
        var start = Stopwatch.GetTimestamp();
        while (store.Sweep())
        {
        }

        var all = Stopwatch.GetElapsedTime(start);
        Volatile.Write(ref done, true);
        waiting.Join();
        return [.. Rows(shape, "expiry.wait", waits), shape.Row("expiry.all", [all.TotalMicroseconds])];
    }

    private static IEnumerable<BenchRow> Rows(RowShape shape, string name, LatencySamples samples) =>
    [
        shape.Row(name, [samples.Microseconds(0.5)]),
        shape.Row(name + ".p99", [samples.Microseconds(0.99)]),
        shape.Row(name + ".p999", [samples.Microseconds(0.999)]),
        shape.Row(name + ".max", [samples.Microseconds(1)]),
    ];

    private static void Put(BlockStore store, BlockHash hash, BlockHash parent, TimeSpan? life)
    {
        var key = new BlockKey(Namespace, hash);
        using var write = store.TryReserve(key, Layout, new BlockLineage(parent, parent.IsZero ? 0 : 1, 0, 0));
        if (write is not null)
            store.Publish(key, write.Generation, life);
    }

    private static BlockHash Hash(int number)
    {
        Span<ulong> words = [(ulong)number + 1, (ulong)number * 0x9E3779B97F4A7C15, ~(ulong)number, 1];
        return new BlockHash(MemoryMarshal.AsBytes(words));
    }
}
