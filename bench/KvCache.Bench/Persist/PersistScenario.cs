using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KvCache.Bench.Cli;
using KvCache.Bench.Raw;
using KvCache.Bench.Redis;
using KvCache.Bench.Reports;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Persist;

/// <summary>Moves blocks between an arena and Redis by the silo's Redis tier, and compares it with a C client's SET and GET.</summary>
internal sealed class PersistScenario : Scenario
{
    private readonly Option<long[]> _sizes = new("--bytes")
    {
        Description = "Block sizes.",
        HelpName = "BYTES,...",
        CustomParser = result => [.. NumberList.Parse(result, 4096, 256 << 20)],
        DefaultValueFactory = _ => [1 << 20, 4 << 20, 32 << 20],
    };

    public override string Name => "persist";

    public override string Description => "Blocks to and from Redis: the silo's tier beside a C client.";

    public override IEnumerable<Option> Options => [_sizes];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        using var redis = ComparedRedis.TryOpen(context.Redis);
        if (redis is null)
            return BenchReport.OfSkipped(Name, ComparedRedis.Missing, context.Log);
        var sizes = context.Arguments.GetRequiredValue(_sizes);
        using var buffers = new LaneBuffers(TierLane.Depth * sizes.Max());
        var contenders = new List<ITransferContender>();
        foreach (var (transport, address) in redis.Ways)
            AddContenders(contenders, transport, address, context, cancellation);

        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        foreach (var transfer in sizes.Select(size => new TransferCase(size, 1)))
        {
            context.Log(transfer.ToString());
            CaseMeter.Measure(contenders, transfer, [buffers], [], context.Rounds, rows, ratios, cancellation);
        }

        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private static void AddContenders(
        List<ITransferContender> contenders, RawTransport transport, EndPoint address, ScenarioContext context,
        CancellationToken cancellation)
    {
        var suffix = transport is RawTransport.Unix ? ".unix" : "";
        var connection = ConnectionString(address);
        Add($"persist{suffix}", $"redis.set{suffix}", (buffer, transfer, lane) => new PersistLane(connection, buffer, transfer, lane));
        Add($"promote{suffix}", $"redis.get{suffix}", (buffer, transfer, lane) => new PromoteLane(connection, buffer, transfer, lane));
        contenders.AddRange(RedisContenders.Create(transport, address, TierLane.Depth, context.Log, cancellation));

        void Add(string name, string yardstick, Func<int, TransferCase, LaneBuffers, ITransferLane> open) =>
            contenders.Add(new TunedContender(
            name,
            [yardstick],
            [.. SocketTuning.Candidates(transport).Where(tuning => !tuning.Reno && tuning.BufferBytes <= 1 << 20).Select(tuning =>
                (tuning.ToString(),
                    (ITransferContender)new TransferContender(name, [], (transfer, lane) => open(tuning.BufferBytes, transfer, lane))))],
            context.Log,
            cancellation));
    }

    private static string ConnectionString(EndPoint address) => address switch
    {
        UnixDomainSocketEndPoint path => $"unix:{path}",
        DnsEndPoint name => string.Create(CultureInfo.InvariantCulture, $"{name.Host}:{name.Port}"),
        _ => address.ToString()!,
    };
}
