using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Lookup;
using KvCache.Bench.Measuring;
using KvCache.Bench.Processes;
using KvCache.Bench.Raw;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Store;

/// <summary>Stores a 128k-token prompt of several tensor-parallel ranks over the data plane, and tells what the grains cost of
/// it.</summary>
/// <remarks>
/// The silo prepares grains while bytes arrive, so no clock inside it could say what a store would take without them. Control time is
/// measured by storing as many blocks of the least size: same frames, reservations, grain calls and publications. Payload time is the rest.
/// </remarks>
internal sealed class StoreScenario : Scenario
{
    private const int Layers = 32;

    // 16 bytes a layer: less is not less work, for a checksum is computed for every layer.
    private const int LeastBytes = Layers * 16;

    private readonly Option<int> _ranks = new("--ranks")
    {
        Description = "Tensor-parallel ranks, each with a namespace and a connection of its own.",
        DefaultValueFactory = _ => 8,
    };

    private readonly Option<int> _bytes = new("--bytes")
    {
        Description = "Bytes of a block of one rank; a multiple of 512.",
        DefaultValueFactory = _ => 256 << 10,
    };

    public StoreScenario()
    {
        _ranks.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 1 or > 64)
                result.AddError("--ranks must be 1 to 64.");
        });
        _bytes.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is var bytes && (bytes < LeastBytes || bytes % LeastBytes != 0))
                result.AddError($"--bytes must be a multiple of {LeastBytes}.");
        });
    }

    public override string Name => "store";

    public override string Description => "A 128k-token prompt of 8 ranks into a silo: control time, payload time, grain activations.";

    public override IEnumerable<Option> Options => [_ranks, _bytes];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var ranks = context.Arguments.GetValue(_ranks);
        var payload = new TransferCase(context.Arguments.GetValue(_bytes), ranks, LookupChains.Length);
        var control = payload with { Bytes = LeastBytes };
        context.Log($"{ranks} ranks of {payload}");
        using var owned = new Owned();
        var buffers = Enumerable.Range(0, ranks).Select(_ => owned.Add(new LaneBuffers(payload.RequestBytes, withTarget: false))).ToList();

        // Room for two prompts: from the third on every block evicts one, as in any cache that has run for a while. Blocks of two sizes
        // would make each other's memory fragmented, so the small ones have a silo of their own.
        var silo = owned.Add(BenchSilo.Start(new ByteSize(Math.Max(256L << 20, 2 * ranks * payload.RequestBytes)), cancellation));
        var controlSilo =
            owned.Add(BenchSilo.Start(new ByteSize(Math.Max(256L << 20, 2L * ranks * LookupChains.Length * 4096)), cancellation));
        var raw = owned.Add(RawServerProcess.Start(Math.Max(1L << 30, payload.RequestBytes)));
        var contenders = new List<StoreContender>();
        foreach (var transport in new[] { "unix", "tcp" })
        {
            Add($"store.{transport}", [$"raw.put.{transport}"],
                (rank, lane) => new SiloPutLane(silo, transport, payload, lane, rank, ranks));
            Add($"store.control.{transport}", [$"store.{transport}"],
                (rank, lane) => new SiloPutLane(controlSilo, transport, control, lane, rank, ranks));
            Add($"raw.put.{transport}", [],
                (_, lane) => new RawPutLane(
                raw.Connect(transport == "tcp" ? RawTransport.Tcp : RawTransport.Unix, default), payload, lane));
        }

        var activations = SiloMetrics.CountActivations(silo.Addresses.Http);
        var figures = InterleavedRounds.Run(contenders, context.Rounds, cancellation);
        activations = SiloMetrics.CountActivations(silo.Addresses.Http) - activations;
        return Report(context, contenders, figures, payload, activations);

        void Add(string name, IReadOnlyList<string> comparedWith, Func<int, LaneBuffers, ITransferLane> open)
        {
            cancellation.ThrowIfCancellationRequested();
            var rank = 0;
            contenders.Add(owned.Add(new StoreContender(name, comparedWith, LaneSet.Open(buffers, lane => open(rank++, lane)))));
        }
    }

    private BenchReport Report(
        ScenarioContext context, List<StoreContender> contenders, double[][] figures, TransferCase payload, double activations)
    {
        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        var shape = new RowShape("ms", payload.Bytes, payload.Connections, payload.Batch);
        RoundRows.Add(contenders, figures, shape, rows, ratios);
        var stores = 0;
        foreach (var transport in new[] { "unix", "tcp" })
        {
            var whole = FiguresOf($"store.{transport}");
            stores += whole.Length;
            rows.Add(shape.Row(
                $"store.payload.{transport}", [.. whole.Zip(FiguresOf($"store.control.{transport}"), (all, grains) => all - grains)]));
        }

        var perStore = activations / stores;
        rows.Add((shape with { Unit = "activations" }).Row("store.activations", [perStore]));
        rows.Add((shape with { Unit = "activations" })
            .Row("store.activations.per_block", [perStore / (payload.Connections * payload.Batch)]));
        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);

        double[] FiguresOf(string name) => figures[contenders.FindIndex(contender => contender.Name == name)];
    }
}
