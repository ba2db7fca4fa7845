using System.CommandLine;
using System.Diagnostics;
using KvCache.Bench.Cli;
using KvCache.Bench.Lookup;
using KvCache.Bench.Measuring;
using KvCache.Bench.Processes;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Bench.Transfer;
using KvCache.Engine.Wire;

namespace KvCache.Bench.Mixed;

/// <summary>How long single requests take when several clients do different things, and how long a match takes while others stream large
/// blocks.</summary>
internal sealed class MixedScenario : Scenario
{
    private const double Gib = 1L << 30;
    private static readonly TimeSpan Round = TimeSpan.FromSeconds(1);

    // The least blocks that the lanes make: a match does not touch bytes.
    private static readonly TransferCase Prompt = new(4096, 1, LookupChains.Length);

    private readonly Option<int> _clients = new("--clients")
    {
        Description = "Clients that get, put and match; as many stream.",
        DefaultValueFactory = _ => 4,
    };

    private readonly Option<long[]> _bytes = new("--bytes")
    {
        Description = "Size of the blocks that are got and put.",
        HelpName = "BYTES,...",
        CustomParser = result => [.. NumberList.Parse(result, 4096, 64 << 20)],
        DefaultValueFactory = _ => [1 << 20],
    };

    private readonly Option<long> _streamed = new("--streamed")
    {
        Description = "Size of the blocks that are streamed.",
        DefaultValueFactory = _ => 32 << 20,
    };

    public override string Name => "mixed";

    public override string Description =>
        "Percentiles of get, put and match by several clients, and of match while others stream 32 MiB blocks.";

    public override IEnumerable<Option> Options => [_clients, _bytes, _streamed];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var clients = context.Arguments.GetValue(_clients);
        var sizes = context.Arguments.GetRequiredValue(_bytes);
        var streamed = new TransferCase(context.Arguments.GetValue(_streamed), clients);
        using var owned = new Owned();
        var largest = Math.Max(streamed.Bytes, Math.Max(sizes.Max(), Prompt.RequestBytes));
        var buffers = Enumerable.Range(0, clients).Select(_ => owned.Add(new LaneBuffers(largest))).ToList();

        // Pinned blocks may take half of the arena.
        var silo = owned.Add(BenchSilo.Start(new ByteSize(Math.Max(1L << 30, 4 * clients * largest)), cancellation));
        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        foreach (var transport in new[] { "unix", "tcp" })
        {
            foreach (var size in sizes)
            {
                context.Log($"{clients} clients, {transport}, {ReportTable.Size(size, null)}");
                Mix(silo, transport, new TransferCase(size, clients), buffers, context.Rounds, rows, cancellation);
            }

            context.Log($"match over {transport}, alone and beside {clients} clients that stream {ReportTable.Size(streamed.Bytes, null)}");
            MatchBesideStreams(silo, transport, streamed, buffers, context.Rounds, rows, ratios, cancellation);
        }

        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private static void Mix(
        BenchSilo silo, string transport, TransferCase transfer, List<LaneBuffers> buffers, int rounds, List<BenchRow> rows,
            CancellationToken cancellation)
    {
        using var owned = new Owned();
        var clients = buffers.Select((lane, seed) => owned.Add(new MixedClient(
            new TimedLane(new MatchLane(silo, transport, Prompt, lane)),
            new TimedLane(new SiloGetLane(silo, transport, transfer, lane)),
            new TimedLane(new SiloPutLane(silo, transport, transfer, lane)),
            seed))).ToList();
        (TailFigures Figures, Func<MixedClient, TimedLane> Lane, RowShape Shape)[] kinds =
        [
            (new TailFigures($"match.{transport}"), client => client.Match, new RowShape("us", null, clients.Count, Prompt.Batch)),
            (new TailFigures($"get.{transport}"), client => client.Get, new RowShape("us", transfer.Bytes, clients.Count)),
            (new TailFigures($"put.{transport}"), client => client.Put, new RowShape("us", transfer.Bytes, clients.Count)),
        ];
        for (var round = -1; round < rounds; round++)
        {
            cancellation.ThrowIfCancellationRequested();
            Crew.Run([.. clients.Select(client => (Action)(() => client.Run(Round)))]);
            foreach (var (figures, lane, _) in kinds)
            {
                var all = new LatencySamples();
                foreach (var client in clients)
                {
                    all.Add(lane(client).Samples);
                    lane(client).Samples.Clear();
                }

                if (round >= 0)
                    figures.Add(all);
            }
        }

        rows.AddRange(kinds.SelectMany(kind => kind.Figures.Rows(kind.Shape)));
    }

    private static void MatchBesideStreams(
        BenchSilo silo, string transport, TransferCase streamed, List<LaneBuffers> buffers, int rounds, List<BenchRow> rows,
            List<RatioRow> ratios, CancellationToken cancellation)
    {
        using var owned = new Owned();
        var match = owned.Add(new TimedLane(new MatchLane(silo, transport, Prompt, buffers[0])));
        var lanes = buffers.Select(lane => owned.Add(new SiloGetLane(silo, transport, streamed, lane))).ToList();
        var shape = new RowShape("us", null, 1, Prompt.Batch);
        var rates = new List<double>();
        Match(match, paced: false);
        foreach (var paced in new[] { false, true })
        {
            var suffix = paced ? $"paced.{transport}" : transport;
            var (idle, busy) = (new TailFigures($"match.idle.{suffix}"), new TailFigures($"match.busy.{suffix}"));
            for (var round = 0; round < rounds; round++)
            {
                cancellation.ThrowIfCancellationRequested();
                match.Samples.Clear();
                Match(match, paced);
                idle.Add(match.Samples);
                var streamers = Streamers.Start(lanes);
                Match(match, paced);
                rates.Add(streamers.Stop() * streamed.Bytes / Gib);
                busy.Add(match.Samples);
            }

            rows.AddRange([.. idle.Rows(shape), .. busy.Rows(shape)]);
            ratios.Add(shape.Ratio($"match.busy.{suffix}.p99/match.idle.{suffix}.p99", busy.P99, idle.P99));
        }

        rows.Add(new RowShape("GiB/s", streamed.Bytes, streamed.Connections).Row($"stream.get.{transport}", rates));
    }

    // One match after the other takes a fair share of a processor for itself, and where there are few of them waits for its turn like
    // everybody who does. A scheduler of an engine asks once per request instead: the paced one rests for a millisecond in between.
    private static void Match(TimedLane match, bool paced) => Crew.Run(
    [
        () =>
        {
            ThreadSlice.ForSmallRequests(); // as the thread of a client
            var start = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(start) < Round)
            {
                match.RunOne();
                if (paced)
                    Thread.Sleep(1);
            }
        },
    ]);
}
