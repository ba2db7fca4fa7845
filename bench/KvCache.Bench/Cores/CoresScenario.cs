using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Cores;

/// <summary>
/// What several threads get out of one block store, beside what the machine gives to as many threads that have nothing in common; and what
/// a put into a full arena takes, beside one into an empty arena. No bytes are copied.
/// </summary>
internal sealed class CoresScenario : Scenario
{
    private const int PresentChains = 256; // by thread

    private readonly Option<int> _blocks = new("--blocks")
    {
        Description = "Blocks of one page that the arena holds for each thread.",
        DefaultValueFactory = _ => 1 << 15,
    };

    private readonly Option<int> _threads = new("--threads")
    {
        Description = "Threads that work at the same time.",
        DefaultValueFactory = _ => Environment.ProcessorCount,
    };

    private readonly Option<bool> _large = new("--large")
    {
        Description = "Also what could hold the lock for long in a store of 400,000 blocks; takes 2 GiB.",
    };

    public CoresScenario()
    {
        _blocks.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < PresentChains * StoreThread.Length)
                result.AddError($"--blocks must be at least {PresentChains * StoreThread.Length}, what a thread reads.");
        });
        _threads.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 2 or > 64)
                result.AddError("--threads must be 2 to 64.");
        });
    }

    public override string Name => "cores";

    public override string Description => "One block store, used by one thread and by several; puts into a full and an empty arena.";

    public override IEnumerable<Option> Options => [_blocks, _threads, _large];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var count = context.Arguments.GetValue(_threads);
        var blocks = count * context.Arguments.GetValue(_blocks);
        context.Log($"{blocks:N0} blocks, {count} threads");
        using BlockStore read = Open(blocks), full = Open(blocks), empty = Open(blocks);
        StoreThread[] readers = [.. Enumerable.Range(0, count).Select(number => new StoreThread(read, number, PresentChains))];
        StoreThread[] writers = [.. Enumerable.Range(0, count).Select(number => new StoreThread(full, number, 0))];
        Array.ForEach(readers, reader => reader.Fill());
        while (full.GetStatistics().Evicted < blocks)
            writers[0].Put(null);

        GC.Collect(); // what was made for the start is not to be collected in a round
        var contenders = new List<CoresContender>();
        foreach (var threads in new[] { 1, count })
        {
            contenders.Add(new("spin", [.. Enumerable.Range(0, threads).Select(_ => Spinner())]));
            contenders.Add(new("lease", [.. readers.Take(threads).Select<StoreThread, Func<int>>(reader => reader.Lease)]));
            contenders.Add(new("put", [.. writers.Take(threads).Select<StoreThread, Func<int>>(writer => () => writer.Put(null))]));
        }

        var figures = InterleavedRounds.Run(contenders, context.Rounds, cancellation);
        var rows = new List<BenchRow>();
        for (var i = 0; i < contenders.Count; i++)
            rows.Add(new RowShape("Mop/s", null, contenders[i].Threads).Row(contenders[i].Name, figures[i]));
        var ratios = Gains(contenders, figures, count);
        AddTails(context, full, empty, rows, ratios);
        if (context.Arguments.GetValue(_large))
            LargeStore.Measure(context.Log, rows, ratios);
        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    // What several threads do by what one does; of the store's operations also by what spinning threads gain.
    private static List<RatioRow> Gains(List<CoresContender> contenders, double[][] figures, int threads)
    {
        var shape = new RowShape("", null, threads);
        var gains = new Dictionary<string, double[]>();
        foreach (var name in new[] { "spin", "lease", "put" })
            gains.Add(name, [.. Of(name, threads).Zip(Of(name, 1), (several, one) => several / one)]);
        var ratios = new List<RatioRow>();
        foreach (var (name, gain) in gains)
            ratios.Add(shape.Ratio($"{name}.{threads}/{name}.1", gain, [.. gain.Select(_ => 1.0)]));
        ratios.Add(shape.Ratio("lease/spin", gains["lease"], gains["spin"]));
        ratios.Add(shape.Ratio("put/spin", gains["put"], gains["spin"]));
        return ratios;

        double[] Of(string name, int threads) =>
            figures[contenders.FindIndex(contender => contender.Name == name && contender.Threads == threads)];
    }

    private static void AddTails(ScenarioContext context, BlockStore full, BlockStore empty, List<BenchRow> rows, List<RatioRow> ratios)
    {
        TailFigures intoFull = new("put.full"), intoEmpty = new("put.empty");
        StoreThread evicting = new(full, 100, 0), filling = new(empty, 100, 0);
        var samples = new LatencySamples();
        for (var round = -1; round < context.Rounds; round++)
        {
            Take(evicting, round < 0 ? null : intoFull);
            empty.Clear();
            Take(filling, round < 0 ? null : intoEmpty);
        }

        var shape = new RowShape("us", null, 1);
        rows.AddRange(intoFull.Rows(shape));
        rows.AddRange(intoEmpty.Rows(shape));
        ratios.Add(shape.Ratio("put.full.p99/put.empty.p99", intoFull.P99, intoEmpty.P99));

        void Take(StoreThread thread, TailFigures? figures)
        {
            for (var chain = 0; chain < PresentChains; chain++)
                thread.Put(samples);
            if (figures is null)
                samples.Clear();
            else
                figures.Add(samples);
        }
    }

    /// <summary>A store of blocks of one page, with its memory.</summary>
    public static BlockStore Open(int blocks)
    {
        var arena = Arena.CreatePrivate((long)blocks * Arena.PageBytes);
        arena.Commit();
        return new BlockStore(arena);
    }

    private static Func<int> Spinner()
    {
        var state = 1UL;
        return () => StoreThread.Spin(ref state);
    }
}
