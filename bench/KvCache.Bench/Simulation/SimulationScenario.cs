using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Reports;
using KvCache.Bench.Workloads;
using KvCache.Benchmarks;
using KvCache.Eviction;

namespace KvCache.Bench.Simulation;

/// <summary>Hit ratios of eviction policies on workload traces, between LRU and the offline optimum.</summary>
internal sealed class SimulationScenario : Scenario
{
    private const string All = "all", Optimum = "min", Yardstick = "lru/t", InStore = "store:", Hinted = "+hints";
    private const string WithHints = EvictionPolicies.Default + Hinted;

    // A workload that is made up has as many requests as the public conversation trace, so that capacities mean the same.
    private const int MadeUp = 12_000;

    private readonly TraceSource _source = new([.. Workload.Names.Where(name => name != Workload.Mixed)]);

    private readonly Option<long[]> _capacities = new("--capacity")
    {
        Description = "Blocks that the cache holds.",
        HelpName = "BLOCKS,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 10_000_000)],
        DefaultValueFactory = _ => [1000, 3000, 10_000, 30_000],
    };

    private readonly Option<string[]> _policies = new("--policy")
    {
        Description = $"all, or some of {string.Join(", ", KnownPolicies)}. min is the offline optimum, store the silo's block store.",
        HelpName = "NAME,...",
        DefaultValueFactory = _ => [All],
        CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
    };

    private readonly Option<string?> _hints = new("--hints")
    {
        Description = "Whether default is told how answers ended. Without it, default and default+hints are two policies.",
        HelpName = "on|off",
    };

    public SimulationScenario()
    {
        _hints.AcceptOnlyFromAmong("on", "off");
        _policies.Validators.Add(result =>
        {
            foreach (var name in result.GetValueOrDefault<string[]>()!.Where(name => name != All && !KnownPolicies.Contains(name)))
                result.AddError($"There is no policy '{name}'; there are {All}, {string.Join(", ", KnownPolicies)}.");
        });
    }

    public override string Name => "sim";

    public override string Description =>
        "Hit ratios of eviction policies on workload traces, and how much of the gap from LRU to the offline optimum each closes.";

    public override IEnumerable<Option> Options => [.. _source.Options, _capacities, _policies, _hints];

    private static IReadOnlyList<string> KnownPolicies { get; } =
        [.. EvictionPolicies.Names, WithHints, Optimum, .. EvictionPolicies.Names.Append(WithHints).Select(name => InStore + name)];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        if (_source.Missing(context.Arguments) is { } missing)
            return BenchReport.OfSkipped(Name, missing, context.Log);
        var policies = ChosenPolicies(context.Arguments.GetRequiredValue(_policies), context.Arguments.GetValue(_hints));
        var rows = new List<BenchRow>();
        foreach (var (name, requests) in _source.Read(context.Arguments, MadeUp))
        {
            var trace = SimulatedTrace.Of(requests);
            context.Log($"{name}: {trace.Requests.Count:N0} requests, {trace.Accesses:N0} blocks, {trace.Blocks:N0} different");
            foreach (var capacity in context.Arguments.GetRequiredValue(_capacities))
                rows.AddRange(Simulate(name, trace, (int)capacity, policies, cancellation));
        }

        // One pass is exact: nothing here depends on the time of this machine.
        return new BenchReport(Name, 1, MachineInfo.Current, rows);
    }

    private static List<string> ChosenPolicies(string[] names, string? hints)
    {
        IEnumerable<string> chosen = names.Contains(All)
            ? KnownPolicies.Where(name => !name.StartsWith(InStore, StringComparison.Ordinal))
            : names;
        return [.. chosen.Select(name => (name, hints) switch
        {
            (EvictionPolicies.Default, "on") => WithHints,
            (WithHints, "off") => EvictionPolicies.Default,
            _ => name,
        }).Distinct()];
    }

    private static IEnumerable<BenchRow> Simulate(
        string file, SimulatedTrace trace, int capacity, List<string> policies, CancellationToken cancellation)
    {
        var least = Hits(Yardstick, trace, capacity, cancellation);
        var most = OfflineOptimum.Hits(trace, capacity, cancellation);
        foreach (var name in policies)
        {
            var hits = name switch { Yardstick => least, Optimum => most, _ => Hits(name, trace, capacity, cancellation) };
            var closed = most == least ? (double?)null : Math.Round((double)(hits - least) / (most - least), 3);
            var ratio = Math.Round((double)hits / Math.Max(1, trace.Accesses), 4);
            yield return new SimulationRow(name, file, capacity, hits, trace.Accesses, ratio, closed);
        }
    }

    private static long Hits(string name, SimulatedTrace trace, int capacity, CancellationToken cancellation)
    {
        if (name.StartsWith(InStore, StringComparison.Ordinal))
        {
            var policy = name[InStore.Length..];
            using var store = new StoreCache(capacity, policy == WithHints ? EvictionPolicies.Default : policy, policy == WithHints);
            return Hits(trace, store.Serve, cancellation);
        }

        var hints = name == WithHints;
        var replay = new PolicyReplay(trace, capacity, EvictionPolicies.Create(hints ? EvictionPolicies.Default : name, capacity), hints);
        return Hits(trace, replay.Serve, cancellation);
    }

    private static long Hits(SimulatedTrace trace, Func<SimulatedRequest, int> serve, CancellationToken cancellation)
    {
        long hits = 0;
        foreach (var request in trace.Requests)
        {
            cancellation.ThrowIfCancellationRequested();
            hits += serve(request);
        }

        return hits;
    }
}
