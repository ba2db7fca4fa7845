using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Disk;

/// <summary>Moves blocks between an arena and a folder by the silo's disk tier, beside plain sequential writes and reads of one
/// file.</summary>
internal sealed class DiskScenario : Scenario
{
    private readonly Option<string> _path = new("--path")
    {
        Description = "Folder on the disk that is measured; a new one is made in it, and removed.",
        DefaultValueFactory = _ => Path.GetTempPath(),
    };

    private readonly Option<long[]> _sizes = new("--bytes")
    {
        Description = "Block sizes.",
        HelpName = "BYTES,...",
        CustomParser = result => [.. NumberList.Parse(result, 16 << 10, 256 << 20)],
        DefaultValueFactory = _ => [256 << 10, 4 << 20],
    };

    private readonly Option<int> _data = new("--mebibytes")
    {
        Description = "MiB that are written, and read, in a turn.",
        DefaultValueFactory = _ => 512,
    };

    public DiskScenario() => _data.Validators.Add(result =>
    {
        if (result.GetValueOrDefault<int>() is < 16 or > 65_536)
            result.AddError("--mebibytes must be 16 to 65536.");
    });

    public override string Name => "disk";

    public override string Description => "Blocks to and from a disk: the silo's tier beside sequential writes and reads.";

    public override IEnumerable<Option> Options => [_path, _sizes, _data];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        foreach (var size in context.Arguments.GetRequiredValue(_sizes))
        {
            context.Log($"blocks of {new ByteSize(size)}");
            using var bench = new DiskBench(
                context.Arguments.GetRequiredValue(_path), (int)size, (long)context.Arguments.GetValue(_data) << 20);
            IContender[] contenders =
            [
                new DiskContender("demote", ["raw.write"], bench.Bytes, bench.PrepareDemotion, bench.Demote),
                new DiskContender("raw.write", [], bench.Bytes, () => { }, bench.WriteRaw),
                new DiskContender("promote", ["raw.read"], bench.Bytes, bench.PreparePromotion, bench.Promote),
                new DiskContender("raw.read", [], bench.Bytes, bench.PrepareRaw, bench.ReadRaw),
            ];
            RoundRows.Add(
                contenders, InterleavedRounds.Run(contenders, context.Rounds, cancellation), new RowShape("GiB/s", size, 1), rows, ratios);
        }

        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }
}
