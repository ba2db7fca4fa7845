using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>
/// Eight clients do everything at random with four times more blocks than the arena holds. Set <c>KVCACHE_STRESS_SECONDS</c>
/// to let them do it for longer than ten seconds.
/// </summary>
[Collection(typeof(Apart))]
public sealed class StressTests
{
    private const int Clients = 8;
    private const int ArenaMiB = 64;
    private const long OverheadBytes = 512L << 20; // runtime, Orleans, threads, socket buffers

    private static readonly (CacheNamespace Namespace, int Prefixes, int Blocks)[] Workload =
    [
        (Prefixes.Namespace("even", KvLayout.Create(8, 4, 64, KvDataType.Float16, 64)), 60, 4),
        (Prefixes.Namespace("odd", KvLayout.Opaque([0, 40_000, 100_008, 180_003], 16)), 60, 5),
        (Prefixes.Namespace("big", KvLayout.Opaque([0, 1 << 19, 1 << 20, (5 << 19) + 8], 16)), 15, 3),
        (Prefixes.Namespace("tiny", KvLayout.Create(2, 1, 16, KvDataType.Float32, 8)), 200, 8),
    ];

    private readonly (KvPrefix Prefix, int Blocks)[] _prefixes =
        [.. Workload.SelectMany(
            kind => Enumerable.Range(0, kind.Prefixes).Select(_ => (Prefixes.New(kind.Namespace, kind.Blocks), kind.Blocks)))];

    private readonly ConcurrentQueue<string> _wrong = [];
    private readonly ConcurrentDictionary<string, long> _counts = new(StringComparer.Ordinal);

    [Fact]
    public async Task Whatever_clients_do_every_byte_is_right_and_the_budget_holds()
    {
        var seconds =
            double.TryParse(Environment.GetEnvironmentVariable("KVCACHE_STRESS_SECONDS"), CultureInfo.InvariantCulture, out var asked)
            ? Math.Max(asked, 10)
            : 10;
        var workingSet = _prefixes.Sum(item => (long)item.Blocks * item.Prefix.Namespace.Layout.BlockBytes);
        Assert.InRange(workingSet, 3.5 * ArenaMiB * (1 << 20), long.MaxValue);
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: $"{ArenaMiB}MiB"));
        await using var observer = silo.Connect();
        using var done = new CancellationTokenSource();

        var workers = Enumerable.Range(0, Clients).Select(worker => Task.Run(() => WorkAsync(silo, worker, done.Token))).ToArray();
        var (fragmentation, resident) = await ObserveAsync(silo, observer, TimeSpan.FromSeconds(seconds));
        await done.CancelAsync();
        await Task.WhenAll(workers);

        Report.Line($"{seconds} s, working set {workingSet >> 20} MiB in an arena of {ArenaMiB} MiB; fragmentation at most "
            + $"{fragmentation:0.00}, resident at most {resident >> 20} MiB");
        Report.Line(string.Join(", ", _counts.OrderBy(count => count.Key).Select(count => $"{count.Key} {count.Value}")));
        Assert.Empty(_wrong);
        Assert.All((string[])["blocks loaded", "blocks stored", "deleted", "pinned", "held"],
            what => Assert.True(_counts.GetValueOrDefault(what) > 0, $"Nothing was {what}."));
        silo.AssertHealthy();
        await AssertNothingLeaksAsync(observer);
    }

    private async Task WorkAsync(SiloProcess silo, int worker, CancellationToken done)
    {
        var random = new Random(worker);
        await using var client = silo.Connect(worker % 2 == 0 ? silo.Unix : silo.Tcp);
        var memory = Workload.ToDictionary(
            kind => kind.Namespace.Id, kind =>
            Enumerable.Range(0, kind.Blocks).Select(_ => new byte[kind.Namespace.Layout.BlockBytes]).ToArray());
        while (!done.IsCancellationRequested)
        {
            var (prefix, blocks) = _prefixes[random.Next(_prefixes.Length)];
            var buffers = memory[prefix.Namespace.Id];
            switch (random.Next(100))
            {
                case < 5:
                    Count("deleted", (await client.DeleteAsync(prefix, CancellationToken.None)).Deleted);
                    break;
                case < 10:
                    Count("pinned", await client.PinAsync(prefix, TimeSpan.FromSeconds(random.Next(2)), CancellationToken.None));
                    break;
                case < 25:
                    await using (var match = await client.MatchAsync(prefix, TimeSpan.FromSeconds(1), CancellationToken.None))
                    {
                        Count("held", match.Held ? 1 : 0);
                        await LoadAsync(client, prefix, buffers[..match.Blocks], random);
                    }

                    break;
                case < 60:
                    if (await LoadAsync(client, prefix, buffers[..random.Next(1, blocks + 1)], random) == 0)
                        await StoreAsync(client, prefix, buffers, random);
                    break;
                default:
                    await StoreAsync(client, prefix, buffers, random);
                    break;
            }
        }
    }

    private async Task<int> LoadAsync(KvCacheClient client, KvPrefix prefix, byte[][] buffers, Random random)
    {
        var layout = prefix.Namespace.Layout;
        var first = random.Next(layout.Layers);
        var range = random.Next(2) == 0 ? layout.AllLayers : new LayerRange(first, random.Next(1, layout.Layers - first + 1));
        var memory = buffers.Select(buffer => buffer.AsMemory(0, layout.RangeBytes(range))).ToArray();
        var result = await client.LoadAsync(prefix, 0, memory, range);
        if (result.Reason is not (MissReason.None or MissReason.Absent))
            _wrong.Enqueue($"A load ended with {result}.");
        for (var block = 0; block < result.Blocks; block++)
        {
            if (!Content.IsRight(memory[block].Span, prefix.Key(block), layout.LayerOffset(range.First)))
                _wrong.Enqueue($"Layers {range} of block {block} of {prefix.Namespace.Model} are wrong.");
        }

        Count("blocks loaded", result.Blocks);
        Count("blocks missed", buffers.Length - result.Blocks);
        return result.Blocks;
    }

    private async Task StoreAsync(KvCacheClient client, KvPrefix prefix, byte[][] buffers, Random random)
    {
        for (var block = 0; block < buffers.Length; block++)
            Content.Fill(buffers[block], prefix.Key(block));
        var options = new StoreOptions(random.Next(4) == 0 ? TimeSpan.FromSeconds(1) : null);
        var result = await client.StoreAsync(prefix, 0, [.. buffers.Select(buffer => (ReadOnlyMemory<byte>)buffer)], options);
        if (result.Reason != MissReason.None || result.FirstRefusal is PutOutcome.Corrupt or PutOutcome.Failed or PutOutcome.TooLarge)
            _wrong.Enqueue($"A store ended with {result}.");
        Count("blocks stored", result.Stored);
        Count("blocks found stored", result.AlreadyStored);
        if (result.FirstRefusal is { } refusal)
            Count($"refused {refusal}", result.Refused);
    }

    private static async Task<(double Fragmentation, long Resident)> ObserveAsync(
        SiloProcess silo, KvCacheClient observer, TimeSpan duration)
    {
        double fragmentation = 0;
        long resident = 0;
        var began = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(began) < duration)
        {
            var store = (await observer.SiloAsync()).GetProperty("store");
            fragmentation = Math.Max(fragmentation, store.GetProperty("fragmentation").GetDouble());
            resident = Math.Max(resident, silo.ResidentBytes);
            Assert.InRange(store.GetProperty("arenaUsedBytes").GetInt64(), 0, (long)ArenaMiB << 20);
            Assert.InRange(resident, 0, ((long)ArenaMiB << 20) + OverheadBytes);
            await Task.Delay(50);
        }

        return (fragmentation, resident);
    }

    private async Task AssertNothingLeaksAsync(KvCacheClient client)
    {
        foreach (var (prefix, _) in _prefixes)
            await client.DeleteAsync(prefix);
        await Eventually.TrueAsync("the arena is empty", async () => await client.StoreCounterAsync("arenaUsedBytes") == 0);
        foreach (var counter in (string[])["blocks", "blockBytes", "leasedBlocks", "pinnedBytes", "writing"])
            Assert.Equal(0, await client.StoreCounterAsync(counter));
    }

    private void Count(string what, long by) => _counts.AddOrUpdate(what, by, (_, count) => count + by);
}
