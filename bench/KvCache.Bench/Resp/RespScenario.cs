using System.CommandLine;
using System.Net;
using KvCache.Bench.Cli;
using KvCache.Bench.Raw;
using KvCache.Bench.Redis;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Resp;

/// <summary>GET and SET of the silo's Redis endpoint beside those of a Redis: the same client, the same keys, the same run.</summary>
internal sealed class RespScenario : Scenario
{
    private readonly Option<long[]> _sizes = new("--bytes")
    {
        Description = "Value sizes.",
        HelpName = "BYTES,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 256 << 20)],
        DefaultValueFactory = _ => [4096, 64 << 10, 1 << 20, 4 << 20],
    };

    private readonly Option<long[]> _connections = new("--connections")
    {
        Description = "Numbers of parallel connections.",
        HelpName = "N,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 64)],
        DefaultValueFactory = _ => [1],
    };

    public override string Name => "resp";

    public override string Description => "GET and SET of the silo's Redis endpoint beside Redis.";

    public override IEnumerable<Option> Options => [_sizes, _connections];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        using var redis = ComparedRedis.TryOpen(context.Redis);
        if (redis is null)
            return BenchReport.OfSkipped(Name, ComparedRedis.Missing, context.Log);
        TransferCase[] cases =
        [
            .. context.Arguments.GetRequiredValue(_sizes).SelectMany(
                size => context.Arguments.GetRequiredValue(_connections).Select(count => new TransferCase(size, (int)count))),
        ];
        var largest = cases.Max(transfer => transfer.Bytes);
        var buffers = new List<LaneBuffers>();
        try
        {
            for (var lane = 0; lane < cases.Max(transfer => transfer.Connections); lane++)
                buffers.Add(new LaneBuffers(largest));
            using var silo = BenchSilo.Start(new ByteSize(Math.Max(1L << 30, 16 * largest)), cancellation);
            List<ITransferContender> contenders =
            [
                .. RedisContenders.Create(
                    RawTransport.Tcp, IPEndPoint.Parse(silo.Addresses.Resp), turns: 1, context.Log, cancellation, "resp", "redis"),
                .. RedisContenders.Create(RawTransport.Tcp, redis.Tcp, turns: 1, context.Log, cancellation),
            ];
            var rows = new List<BenchRow>();
            var ratios = new List<RatioRow>();
            foreach (var transfer in cases)
            {
                context.Log(transfer.ToString());
                CaseMeter.Measure(
                    contenders, transfer, [.. buffers.Take(transfer.Connections)], [], context.Rounds, rows, ratios, cancellation);
            }

            return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
        }
        finally
        {
            buffers.ForEach(buffer => buffer.Dispose());
        }
    }
}
