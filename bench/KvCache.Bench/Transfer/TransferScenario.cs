using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Iperf;
using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Transfer;

/// <summary>Moves blocks in every way there is, and compares the ways.</summary>
internal sealed class TransferScenario : Scenario
{
    private const int SmallBlockBatch = 64;
    private const long SmallBlock = 256 << 10;
    // iperf3 streams without being asked; below this a request costs enough to make the comparison unfair to the raw loop.
    private const long LeastIperfRequest = 4 << 20;
    private static readonly string[] Views = [TensorView.Kept, TensorView.Asked];

    private readonly Option<long[]> _sizes = new("--bytes")
    {
        Description = "Block sizes.",
        HelpName = "BYTES,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 1 << 30)],
        DefaultValueFactory = _ => [SmallBlock, 1 << 20, 4 << 20, 32 << 20],
    };

    private readonly Option<long[]> _connections = new("--connections")
    {
        Description = "Numbers of parallel connections.",
        HelpName = "N,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 64)],
        DefaultValueFactory = _ => [1],
    };

    private readonly Option<bool> _checksum = new("--crc")
    {
        Description = "Add the raw loop with a CRC-32 over each received piece.",
    };

    private readonly Option<string[]> _only = new("--only")
    {
        Description = "Measure only these rows, for example put.tcp,raw.put.tcp.",
        HelpName = "NAME,...",
        CustomParser = result =>
            string.Join(',', result.Tokens.Select(token => token.Value))
            .Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries),
        DefaultValueFactory = _ => [],
    };

    public override string Name => "transfer";

    public override string Description => "Block throughput: raw sockets, memory copy, Redis.";

    public override IEnumerable<Option> Options => [_sizes, _connections, _checksum, _only];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var cases = Cases(context.Arguments.GetRequiredValue(_sizes), context.Arguments.GetRequiredValue(_connections)).ToList();
        var largest = cases.Max(transfer => transfer.RequestBytes);
        var lanes = cases.Max(transfer => transfer.Connections);
        var only = context.Arguments.GetRequiredValue(_only);
        var buffers = new List<LaneBuffers>();
        try
        {
            for (var lane = 0; lane < lanes; lane++)
                buffers.Add(new LaneBuffers(largest));
            using var contenders = TransferContenders.Start(
                largest * lanes, context.Redis, context.Arguments.GetValue(_checksum), context.Log, cancellation);
            var chosen = contenders.All.Where(contender => IsChosen(contender.Name)).ToList();
            string[] views = [.. Views.Where(IsChosen)];
            if (chosen.Count + views.Length == 0)
                throw new InvalidOperationException(
                    "--only names no row; there are "
                    + $"{string.Join(", ", [.. contenders.All.Select(contender => contender.Name), .. Views])}.");
            using var iperf = only.Length == 0 || only.Contains("iperf3") ? Iperf3.TryStart() : null;
            var rows = new List<BenchRow>();
            var ratios = new List<RatioRow>();
            foreach (var transfer in chosen.Count > 0 ? cases : [])
            {
                context.Log(transfer.ToString());
                IContender[] guests = iperf is not null && transfer.Connections == 1 && transfer.RequestBytes >= LeastIperfRequest
                    ? [iperf]
                    : [];
                CaseMeter.Measure(
                    chosen, transfer, [.. buffers.Take(transfer.Connections)], guests, context.Rounds, rows, ratios, cancellation);
            }

            TensorView.Measure(contenders.Silo, views, cases.Select(transfer => transfer.Bytes).Distinct(), context, rows, cancellation);
            return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
        }
        finally
        {
            buffers.ForEach(buffer => buffer.Dispose());
        }

        bool IsChosen(string name) => only.Length == 0 || only.Contains(name);
    }

    private static IEnumerable<TransferCase> Cases(IEnumerable<long> sizes, IEnumerable<long> connections)
    {
        foreach (var size in sizes)
        {
            foreach (var count in connections)
            {
                yield return new TransferCase(size, (int)count);
                if (size == SmallBlock)
                    yield return new TransferCase(size, (int)count, SmallBlockBatch);
            }
        }
    }
}
