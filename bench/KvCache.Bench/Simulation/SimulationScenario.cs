using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Reports;
using KvCache.Bench.Traces;

namespace KvCache.Bench.Simulation;

/// <summary>Hit ratios of eviction policies on workload traces.</summary>
internal sealed class SimulationScenario : Scenario
{
    private static readonly (string Name, Func<int, ISimulatedCache> Create)[] Policies =
    [
        ("fifo", capacity => new ListCache(capacity, ListOrder.Inserted)),
        ("lru", capacity => new ListCache(capacity, ListOrder.Used)),
        ("lru/t", capacity => new ListCache(capacity, ListOrder.TailFirst)),
        ("store", capacity => new StoreCache(capacity)),
    ];

    private readonly Option<DirectoryInfo> _traces = TraceFolder.CreateOption();

    private readonly Option<long[]> _capacities = new("--capacities")
    {
        Description = "Blocks that the cache holds.",
        HelpName = "BLOCKS,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 10_000_000)],
        DefaultValueFactory = _ => [1000, 3000, 10_000, 30_000],
    };

    public override string Name => "sim";

    public override string Description => "Hit ratios of eviction policies on workload traces: FIFO, LRU, tail-first LRU and the silo's block store.";

    public override IEnumerable<Option> Options => [_traces, _capacities];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var folder = context.Arguments.GetRequiredValue(_traces);
        var files = TraceFolder.Find(folder);
        if (files.Count == 0)
            return BenchReport.OfSkipped(Name, TraceFolder.Missing(folder), context.Log);
        var rows = new List<BenchRow>();
        foreach (var file in files)
        {
            var requests = TraceRequest.Read(file.FullName);
            context.Log($"{file.Name}: {requests.Count:N0} requests");
            foreach (var capacity in context.Arguments.GetRequiredValue(_capacities))
            {
                foreach (var (name, create) in Policies)
                    rows.Add(Simulate(name, create((int)capacity), file.Name, (int)capacity, requests, cancellation));
            }
        }

        // One pass is exact: nothing here depends on time.
        return new BenchReport(Name, 1, MachineInfo.Current, rows);
    }

    private static SimulationRow Simulate(
        string name, ISimulatedCache cache, string trace, int capacity, List<TraceRequest> requests, CancellationToken cancellation)
    {
        using (cache)
        {
            long hits = 0, accesses = 0;
            foreach (var request in requests)
            {
                cancellation.ThrowIfCancellationRequested();
                hits += cache.Serve(request.HashIds);
                accesses += request.HashIds.Length;
            }

            return new SimulationRow(name, trace, capacity, hits, accesses, accesses == 0 ? 0 : Math.Round((double)hits / accesses, 4));
        }
    }
}
