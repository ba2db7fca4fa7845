using System.CommandLine;
using System.Globalization;
using KvCache.Bench.Cli;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Roi;

/// <summary>A calculator: what a cache gains under which hit rate and prompt length, by prices and speeds that the caller names.</summary>
internal sealed class RoiScenario : Scenario
{
    private static readonly double[] Factors = [2, 5, 10, 20];

    private readonly Option<long[]> _prompts = new("--prompts")
    {
        Description = "Lengths of prompts in tokens.",
        HelpName = "TOKENS,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 10_000_000)],
        DefaultValueFactory = _ => [512, 2048, 8192, 32_768],
    };

    private readonly Option<long[]> _hits = new("--hits")
    {
        Description = "Hit rates in percent: the share of prompt tokens that is cached.",
        HelpName = "PERCENT,...",
        CustomParser = result => [.. NumberList.Parse(result, 1, 100)],
        DefaultValueFactory = _ => [30, 50, 70, 90, 95],
    };

    private readonly Option<double> _prefill = Positive("--prefill", "Tokens that a node computes in a second.", 10_000);
    private readonly Option<double> _kv =
        Positive("--kv-kib", "KiB of KV for a token: 2 (K and V) x layers x KV heads x head dim x bytes of a number / 1024.", 128);
    private readonly Option<double> _speed = Positive("--load-gib", "GiB/s at which KV is loaded.", 5);
    private readonly Option<double> _lookup = Positive("--lookup-ms", "Milliseconds that a look-up takes.", 1);
    private readonly Option<double> _price = Positive("--price", "US dollars for an hour of a node.", 2);
    private readonly Option<double> _memory = Positive("--memory-gib", "GiB of cache for each node.", 256);
    private readonly Option<double> _memoryPrice = Positive("--memory-price", "US dollars for a GiB of memory for an hour.", 0.005);

    public override string Name => "roi";

    public override string Description => "A calculator, which measures nothing: TTFT, throughput and cost by hit rate and prompt length.";

    public override IEnumerable<Option> Options =>
        [_prompts, _hits, _prefill, _kv, _speed, _lookup, _price, _memory, _memoryPrice];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var given = context.Arguments;
        var model = new ReturnModel(
            given.GetValue(_prefill), given.GetValue(_kv) * 1024, given.GetValue(_speed) * (1L << 30), given.GetValue(_lookup) / 1000,
            given.GetValue(_price), given.GetValue(_memory) * given.GetValue(_memoryPrice));
        Explain(model, given, context.Log);
        var rows = new List<BenchRow>();
        var lines = new List<IReadOnlyList<string>>();
        foreach (var tokens in given.GetRequiredValue(_prompts))
        {
            var even = model.BreakEven(tokens);
            foreach (var percent in given.GetRequiredValue(_hits))
                lines.Add(Line(model, tokens, percent, even, rows));
            foreach (var factor in Factors)
            {
                if (model.HitRateFor(tokens, factor) is { } needed)
                    rows.Add(Figure($"hit_rate_for.{factor}x.{tokens}", "share", needed));
            }
        }

        return new BenchReport(Name, 1, MachineInfo.Current, rows, Summary: new ReportSummary(
            ["tokens", "hit rate", "TTFT cold ms", "TTFT warm ms", "throughput", "USD/Mtoken cold", "warm", "saved", "pays from"], lines));
    }

    private static string[] Line(ReturnModel model, long tokens, long percent, double? even, List<BenchRow> rows)
    {
        var hits = percent / 100.0;
        var (cold, warm) = (model.Cold(tokens) * 1000, model.Warm(tokens, hits) * 1000);
        var saved = 1 - (model.WarmPrice(tokens, hits) / model.ColdPrice);
        rows.Add(Figure($"ttft.{tokens}.{percent}", "ms", warm));
        rows.Add(Figure($"throughput.{tokens}.{percent}", "times", cold / warm));
        rows.Add(Figure($"saved.{tokens}.{percent}", "share", saved));
        return
        [
            Text($"{tokens:N0}"), Text($"{percent} %"), Text($"{cold:N1}"), Text($"{warm:N1}"), Text($"{cold / warm:0.00}x"),
            Text($"{model.ColdPrice:0.0000}"), Text($"{model.WarmPrice(tokens, hits):0.0000}"), Text($"{saved:P0}"),
            even is { } rate ? Text($"{rate:P0}") : "never",
        ];
    }

    private void Explain(ReturnModel model, ParseResult given, Action<string> log)
    {
        foreach (var option in Options.OfType<Option<double>>())
            log(Text($"{option.Name} {given.GetValue(option)}: {option.Description}"));
        log(model.LoadShare < 1
            ? Text($"A token is loaded in {model.LoadShare:P1} of the time that computing it takes, so that no hit rate gains more than ")
                + Text($"{1 / model.LoadShare:0.#} times.")
            : "A token takes longer to load than to compute: a cache cannot pay.");
        var longest = given.GetRequiredValue(_prompts).Max();
        foreach (var factor in Factors)
            log(model.HitRateFor(longest, factor) is { } needed
                ? Text($"{factor} times the prompts of {longest:N0} tokens need a hit rate of {needed:P1}.")
                : Text($"{factor} times the prompts of {longest:N0} tokens are out of reach."));
    }

    private static RateRow Figure(string name, string unit, double value) => new(name, null, 1, null, unit, value, value, value);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static Option<double> Positive(string name, string description, double standard)
    {
        var option = new Option<double>(name) { Description = description, DefaultValueFactory = _ => standard };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<double>() is var value && !(value > 0 && double.IsFinite(value)))
                result.AddError($"{name} must be more than 0.");
        });
        return option;
    }
}
