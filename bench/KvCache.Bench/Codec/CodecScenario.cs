using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Codec;

/// <summary>The lossless codec of 16-bit floats on the KV of real models beside zstd, gzip and the entropy, and conversions beside a copy.
/// One thread.</summary>
internal sealed class CodecScenario : Scenario
{
    private const int WarmUpRounds = 3;

    private readonly Option<DirectoryInfo> _models = ModelKv.CreateOption();

    private readonly Option<long> _bytes = new("--bytes")
    {
        Description = "Bytes of KV that a pass encodes or decodes: the blocks of a sample, repeated.",
        DefaultValueFactory = _ => 8 << 20,
    };

    public CodecScenario() => _bytes.Validators.Add(result =>
    {
        if (result.Tokens.Count > 0 && result.GetValueOrDefault<long>() is < (1 << 20) or > (1 << 30))
            result.AddError("--bytes must be 1 MiB to 1 GiB.");
    });

    public override string Name => "codec";

    public override string Description =>
        "Compression of KV without loss: ratio beside its entropy, speed beside zstd, gzip and memcpy; float32 to 16-bit types and back.";

    public override IEnumerable<Option> Options => [_models, _bytes];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var (rows, ratios) = (new List<BenchRow>(), new List<RatioRow>());
        foreach (var sample in Samples(context, cancellation))
        {
            context.Log($"{sample.Name}, {sample.TypeName}");
            using var lane = new CodecLane(sample, context.Arguments.GetRequiredValue(_bytes));
            Measure([.. lane.Contenders()], new RowShape("GiB/s", lane.Bytes, 1), context, rows, ratios, cancellation);

            var stored = lane.Ratios();
            var shape = new RowShape("stored/original", lane.Bytes, 1);
            rows.AddRange(stored.Select(pair => shape.Row(pair.Key, [pair.Value])));
            ratios.Add(shape.Ratio($"{lane.PlanesName}/bound", [stored[lane.PlanesName]], [stored[lane.BoundName]]));
        }

        context.Log("conversions");
        using (var lane = new ConversionLane())
            Measure(lane.Contenders(), new RowShape("GiB/s read and written", ConversionLane.Bytes, 1), context, rows, ratios,
                cancellation);
        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private static void Measure(
        IReadOnlyList<IContender> contenders, RowShape shape, ScenarioContext context, List<BenchRow> rows, List<RatioRow> ratios,
            CancellationToken cancellation)
    {
        // Rounds that do not count: they compile, and compile again when they know what is hot.
        InterleavedRounds.Run(contenders, WarmUpRounds, cancellation);
        RoundRows.Add(contenders, InterleavedRounds.Run(contenders, context.Rounds, cancellation), shape, rows, ratios);
    }

    private IEnumerable<KvSample> Samples(ScenarioContext context, CancellationToken cancellation)
    {
        var real = ModelKv.Find(context.Arguments.GetRequiredValue(_models), context.Log)
            .SelectMany(model => ModelKv.Compute(model, context.Log, cancellation));
        return [.. real, KvSample.Synthetic(KvDataType.BFloat16), KvSample.Synthetic(KvDataType.Float16)];
    }
}
