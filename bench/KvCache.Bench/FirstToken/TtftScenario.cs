using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Measuring;
using KvCache.Bench.Memory;
using KvCache.Bench.Processes;
using KvCache.Bench.Reports;
using KvCache.Bench.Silos;
using KvCache.InferenceNode;

namespace KvCache.Bench.FirstToken;

/// <summary>The time to the first token of a prompt whose prefix is cached, beside that of computing it.</summary>
internal sealed class TtftScenario : Scenario
{
    public const int TokensPerBlock = 256;
    public const long LeastArena = 256 << 20;
    private const string Llama = "llama";
    private const double LeastShare = 0.02;
    private const long Elsewhere = 1L << 30; // activations, the processes' own, and air

    private static readonly Dictionary<string, KvDataType> DataTypes = new(StringComparer.Ordinal)
    {
        ["bf16"] = KvDataType.BFloat16,
        ["f16"] = KvDataType.Float16,
        ["f32"] = KvDataType.Float32,
    };

    private readonly Option<string> _engine =
        new("--engine")
        {
            Description = "What computes: the sample's inference node on libtorch, or llama.cpp over a Unix socket.",
            DefaultValueFactory = _ => "torch"
        };
    private readonly Option<int[]> _lengths =
        new("--lengths")
        {
            Description = $"llama.cpp: cached tokens of each prompt, multiples of {TokensPerBlock}.",
            CustomParser = result => [.. NumberList.Parse(result, TokensPerBlock, 1 << 20).Select(length => (int)length)],
            DefaultValueFactory = _ => [256, 1024, 2048],
        };
    private readonly Option<string> _shape =
        new("--shape") { Description = "Shape of a model with random weights.", DefaultValueFactory = _ => "llama-1b" };
    private readonly Option<string?> _model =
        new("--model") { Description = "A model instead: Hugging Face directory or llama2.c file; for llama.cpp a GGUF." };
    private readonly Option<int> _prefix =
        new("--prefix") { Description = $"Cached tokens, a multiple of {TokensPerBlock}.", DefaultValueFactory = _ => 2048 };
    private readonly Option<int> _tokens = new("--tokens") { Description = "New tokens behind them.", DefaultValueFactory = _ => 64 };
    private readonly Option<int> _turns =
        new("--turns")
        {
            Description = "Runs of everything but the whole prefill in a round. More make load.hidden steadier.",
            DefaultValueFactory = _ => 5
        };
    private readonly Option<int?> _threads =
        new("--threads")
        {
            Description =
        "Threads that compute (default: as the sample's inference node has them). With fewer than cores, loads do not take turns with them."
        };
    private readonly Option<string> _type =
        new("--dtype") { Description = "Element type of weights and KV.", DefaultValueFactory = _ => "bf16" };

    public TtftScenario()
    {
        _shape.AcceptOnlyFromAmong([.. RandomModels.Names]);
        _type.AcceptOnlyFromAmong([.. DataTypes.Keys]);
        _engine.AcceptOnlyFromAmong("torch", Llama);
        _lengths.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int[]>() is { } lengths && lengths.Any(length => length % TokensPerBlock != 0))
                result.AddError($"--lengths must be multiples of {TokensPerBlock}, the tokens of a block.");
        });
        _prefix.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is var tokens && (tokens < TokensPerBlock || tokens % TokensPerBlock != 0))
                result.AddError($"--prefix must be a multiple of {TokensPerBlock}, the tokens of a block.");
        });
        foreach (var option in new Option[] { _tokens, _turns, _threads })
        {
            option.Validators.Add(result =>
            {
                if (result.GetValueOrDefault<int?>() < 1)
                    result.AddError($"{option.Name} must be at least 1.");
            });
        }
    }

    public override string Name => "ttft";

    public override string Description =>
        "Time to the first token of a prompt on a real model: cached prefix over each transport beside a whole prefill.";

    public override IEnumerable<Option> Options =>
        [_engine, _shape, _model, _prefix, _lengths, _tokens, _type, _turns, _threads];

    /// <summary>A prefill takes seconds.</summary>
    public override int DefaultRounds => 3;

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var arguments = context.Arguments;
        if (arguments.GetValue(_engine) == Llama)
        {
            var llama = new LlamaTtft(
                context, arguments.GetRequiredValue(_lengths), arguments.GetValue(_tokens),
                arguments.GetValue(_threads) ?? Environment.ProcessorCount);
            return llama.Run(Name, arguments.GetValue(_model), cancellation);
        }

        var type = DataTypes[arguments.GetRequiredValue(_type)];
        var (shape, path) = (arguments.GetRequiredValue(_shape), arguments.GetValue(_model));
        if (WhyNot(shape, path, type) is { } reason)
            return BenchReport.OfSkipped(Name, reason, context.Log);

        using var owned = new Owned();
        context.Log(path is null ? $"Making {shape} with random weights" : $"Loading {path}");
        LoadedModel loaded;
        try
        {
            loaded = owned.Add(ModelLoader.Load(path ?? ModelLoader.RandomPrefix + shape, new ModelLoadOptions { DataType = type }));
        }
        catch (ModelFormatException e)
        {
            throw new InvalidOperationException(e.Message, e);
        }

        var model = loaded.Model;
        if (arguments.GetValue(_threads) is { } threads)
            global::TorchSharp.torch.set_num_threads(threads);
        else
            TorchThreads.Fit(model.Config);
        var (prefix, more) = (arguments.GetValue(_prefix), arguments.GetValue(_tokens));
        if (prefix + more > model.MaxContext)
            throw new InvalidOperationException($"{prefix + more} tokens are more than the model's context of {model.MaxContext}.");
        context.Log($"Computing {prefix} + {more} tokens");
        var prompt = owned.Add(new TtftPrompt(model, prefix, more, TokensPerBlock, context.Log));
        var bytes = (long)prompt.Prefix.BlockCount * prompt.Prefix.Namespace.Layout.BlockBytes;
        context.Log($"First token {prompt.FirstToken}; the prefix has {bytes / 1048576.0:0.#} MiB of KV. Starting a silo");
        var silo = owned.Add(BenchSilo.Start(new ByteSize(Math.Max(LeastArena, 2 * bytes)), cancellation));
        List<TtftCache> caches = [.. new[] { "tcp", "unix", "shm" }.Select(transport => owned.Add(new TtftCache(silo, transport, prompt)))];
        caches[0].Store();
        var contenders = TtftContenders.Of(prompt, caches);
        foreach (var contender in contenders.Where(contender => contender.Name != TtftContenders.Cold))
            contender.Measure(); // the whole prefill has run already
        return Report(
            context, prompt, caches, contenders,
            TtftRound.Run(contenders, context.Rounds, arguments.GetValue(_turns), context.Log, cancellation));
    }

    private BenchReport Report(
        ScenarioContext context, TtftPrompt prompt, List<TtftCache> caches, List<TtftContender> contenders, List<TtftRound> rounds)
    {
        var rows = new List<BenchRow>();
        var ratios = new List<RatioRow>();
        var shape = new RowShape("ms", prompt.Prefix.Namespace.Layout.BlockBytes, 1, prompt.Prefix.BlockCount);
        RoundRows.Add(
            contenders, [.. contenders.Select(contender => rounds.ConvertAll(round => round.Median(contender.Name)).ToArray())], shape,
            rows, ratios);
        foreach (var cache in caches)
        {
            // Beside a computation that differs more than this from run to run, a figure would tell about that only.
            var share = Summary.Of(
                rounds.ConvertAll(round => round.Median($"load.{cache.Transport}") / round.Median(TtftContenders.Resident))).Median;
            if (share < LeastShare)
            {
                context.Log($"No load.hidden.{cache.Transport}: the load is {share:P1} of the computation, too little to tell");
                continue;
            }

            foreach (var way in TtftContenders.Ways(cache))
                rows.Add((shape with { Unit = "fraction" })
                    .Row($"load.hidden.{way}", rounds.ConvertAll(round => round.Hidden($"ttft.warm.{way}", $"load.{cache.Transport}"))));
        }

        return new BenchReport(Name, context.Rounds, MachineInfo.Current, rows, ratios);
    }

    private static string? WhyNot(string shape, string? path, KvDataType type)
    {
        if (LibTorch.WhyNot() is { } missing)
            return missing;
        if (path is not null)
            return File.Exists(path) || Directory.Exists(path) ? null : $"there is no model at {path}.";
        var needed = (RandomModels.CountWeights(shape) * type.Size()) + Elsewhere;
        return HostMemory.Available() is { } available && available < needed
            ? $"{shape} needs {needed / 1e9:0.0} GB of memory, and {available / 1e9:0.0} GB are available; choose a smaller --shape."
            : null;
    }
}
