using System.CommandLine;
using System.Globalization;
using KvCache.Bench.Cli;
using KvCache.Bench.Memory;
using KvCache.Bench.Processes;
using KvCache.Bench.Reports;
using KvCache.Bench.Transfer;
using KvCache.Bench.Workloads;
using KvCache.Benchmarks;
using KvCache.Benchmarks.Strategies;
using KvCache.Client;
using KvCache.Processes;

namespace KvCache.Bench.Strategies;

/// <summary>Several inference nodes serve the requests of a trace, with every way of keeping KV in turn.</summary>
internal sealed class StrategiesScenario : Scenario
{
    private readonly TraceSource _source = new(Workload.Mixed);
    private readonly Option<int> _requests = Number("--requests", "Requests that are counted.", 200);
    private readonly Option<int> _before = Number("--before", "Requests before those: caches are full when counting begins.", 2000);
    private readonly Option<int> _nodes = Number("--nodes", "Inference nodes, and silos of a cluster; requests go round.", 4);
    private readonly Option<int> _bytes = Number("--bytes", "KV bytes of a block of 512 tokens.", 64 << 10);
    private readonly Option<int> _capacity = Number("--capacity", "Blocks that fit into all memory together.", 3000);
    private readonly Option<int> _speed = Number("--prefill", "Tokens that a node computes in a second.", 10_000);
    private readonly Option<double> _price =
        new("--price") { Description = "US dollars for an hour of a node.", DefaultValueFactory = _ => 2 };
    private readonly Option<double> _memoryPrice =
        new("--memory-price") { Description = "US dollars for a GiB of memory for an hour.", DefaultValueFactory = _ => 0.005 };

    public override string Name => "strategies";

    public override string Description =>
        "No cache, one in each process, Redis, a silo, both, and a cluster under the same traffic: hit rate, time to first token, cost.";

    public override IEnumerable<Option> Options =>
        [.. _source.Options, _requests, _before, _nodes, _bytes, _capacity, _speed, _price, _memoryPrice];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var arguments = context.Arguments;
        if (_source.Missing(arguments) is { } missing)
            return BenchReport.OfSkipped(Name, missing, context.Log);
        var (nodes, bytes) = (arguments.GetValue(_nodes), arguments.GetValue(_bytes));
        var before = arguments.GetValue(_before);
        var wanted = before + arguments.GetValue(_requests);
        var trace = _source.Read(arguments, wanted).First();
        var requests = trace.Requests.Take(wanted).ToList();
        if (requests.Count <= before)
            throw new InvalidOperationException(
                $"{trace.Name} has {requests.Count:N0} requests; none is left behind the first {before:N0} (--before).");
        var prices = new PriceModel(arguments.GetValue(_speed), arguments.GetValue(_price), arguments.GetValue(_memoryPrice));
        var ns = new CacheNamespace
        {
            Tenant = "default",
            Model = "bench-strategies",
            Layout = KvLayout.Opaque([0, bytes], TraceRequest.TokensPerBlock)
        };
        using var owned = new Owned();
        var total = new ByteSize((long)arguments.GetValue(_capacity) * bytes);
        var runs = Open(owned, ns, nodes, total, context.Log, cancellation)
            .Select(strategy => new StrategyRun(strategy, prices, bytes, nodes, total.Bytes / (double)(1 << 30))).ToList();
        context.Log($"{trace.Name}: {requests.Count - before} requests behind {before:N0} on {nodes} nodes, {prices.TokensPerSecond:N0} "
            + $"tokens/s and {prices.PerHour} USD/h each");
        var most = requests.Max(request => request.HashIds.Count);
        var buffers = owned.Add(new LaneBuffers((long)most * bytes));
        var targets = Enumerable.Range(0, most).Select(i => WarmMemory.Block(buffers.Target, i, bytes)).ToList();
        var sources = Enumerable.Range(0, most).Select(i => (ReadOnlyMemory<byte>)WarmMemory.Block(buffers.Source, i, bytes)).ToList();
        for (var i = 0; i < requests.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var prompt = requests[i].Chain();
            for (var turn = 0; turn < runs.Count; turn++)
                runs[(i + turn) % runs.Count]
                    .Serve(i % nodes, requests[i], prompt, targets[..prompt.BlockCount], sources[..prompt.BlockCount],
                    counted: i >= before);
        }

        return Report(runs, bytes, nodes);
    }

    private static IEnumerable<ICacheStrategy> Open(
        Owned owned, CacheNamespace ns, int nodes, ByteSize total, Action<string> log, CancellationToken cancellation)
    {
        yield return new NoCache();
        yield return owned.Add(new CacheStrategy(
            "local", ns, [.. Enumerable.Range(0, nodes).Select(_ => new LocalKvCache(new ByteSize(total.Bytes / nodes)))]));
        if (ProgramCommand.Find("redis-server") is { } program)
        {
            yield return owned.Add(new RedisStrategy(program, nodes, total, "tcp"));
            yield return owned.Add(new RedisStrategy(program, nodes, total, "unix"));
        }
        else
        {
            log("SKIPPED: rows of Redis; no redis-server on PATH.");
        }

        yield return owned.Add(new SiloStrategy(ns, nodes, total, "tcp", cancellation));
        yield return owned.Add(new SiloStrategy(ns, nodes, total, "unix", cancellation));
        yield return owned.Add(TieredStrategy.Start(ns, nodes, total, cancellation));
        yield return owned.Add(new ClusterStrategy(ns, nodes, total, "tcp", cancellation));
        yield return owned.Add(new ClusterStrategy(ns, nodes, total, "shm", cancellation));
    }

    private BenchReport Report(List<StrategyRun> runs, int bytes, int nodes)
    {
        var rows = new List<BenchRow>();
        RowShape Shape(string unit) => new(unit, bytes, nodes);
        foreach (var run in runs)
        {
            rows.Add(Shape("ms").Row($"ttft.{run.Name}", run.FirstTokens));
            rows.Add(Shape("ms").Row($"ttft.p95.{run.Name}", [run.FirstToken(0.95)]));
            rows.Add(Shape("ms").Row($"ttft.p99.{run.Name}", [run.FirstToken(0.99)]));
            rows.Add(Shape("share").Row($"hit_rate.{run.Name}", [run.HitRate]));
            rows.Add(Shape("requests/s").Row($"throughput.{run.Name}", [run.Throughput]));
            rows.Add(Shape("MiB").Row($"loaded.{run.Name}", [run.LoadedMib]));
            rows.Add(Shape("MiB").Row($"stored.{run.Name}", [run.StoredMib]));
            rows.Add(Shape("USD/Mtoken").Row($"cost.{run.Name}", [run.CostPerMillionTokens]));
            rows.Add(Shape("errors").Row($"errors.{run.Name}", [run.Errors]));
        }

        var ratios = runs.Skip(1)
            .Select(run => Shape("ms").Ratio($"ttft.{run.Name}/ttft.{runs[0].Name}", run.FirstTokens, runs[0].FirstTokens));

        // The rounds are the requests: every one is served by every strategy, each time by another one first.
        return new BenchReport(Name, runs[0].FirstTokens.Count, MachineInfo.Current, rows, [.. ratios], Summary: new ReportSummary(
            ["strategy", "hit rate", "TTFT p50 ms", "p95", "p99", "requests/s", "loaded MiB", "stored MiB", "errors", "USD/Mtoken"],
            [.. runs.Select(Line)]));
    }

    private static string[] Line(StrategyRun run)
    {
        static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
        return
        [
            run.Name, Text(run.HitRate, "0.000"), Text(run.FirstToken(0.5), "0.0"), Text(run.FirstToken(0.95), "0.0"),
            Text(run.FirstToken(0.99), "0.0"), Text(run.Throughput, "0.000"), Text(run.LoadedMib, "0.0"), Text(run.StoredMib, "0.0"),
            Text(run.Errors, "0"), Text(run.CostPerMillionTokens, "0.0000"),
        ];
    }

    private static Option<int> Number(string name, string description, int standard)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => standard };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
                result.AddError($"{name} must be at least 1.");
        });
        return option;
    }
}
