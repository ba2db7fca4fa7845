using System.CommandLine;
using KvCache.Bench.Reports;
using KvCache.Bench.Workloads;

namespace KvCache.Bench.Cli;

/// <summary>All scenarios, one after the other, with their default options.</summary>
internal sealed class AllScenario(IReadOnlyList<Scenario> scenarios) : Scenario
{
    private readonly Option<DirectoryInfo?> _traces = TraceSource.FolderOption();

    public override string Name => "all";

    public override string Description => $"All of it: {string.Join(", ", scenarios.Select(scenario => scenario.Name))}.";

    public override IEnumerable<Option> Options => [_traces];

    public override BenchReport Run(ScenarioContext context, CancellationToken cancellation)
    {
        var reports = new List<BenchReport>();
        foreach (var scenario in scenarios)
        {
            context.Log($"== {scenario.Name}");
            reports.Add(scenario.Run(
                context with { Arguments = Defaults(scenario, context), Rounds = context.GivenRounds ?? scenario.DefaultRounds },
                cancellation));
        }

        return new BenchReport(Name, context.Rounds, MachineInfo.Current, [], Reports: reports);
    }

    private ParseResult Defaults(Scenario scenario, ScenarioContext context)
    {
        var command = new Command(scenario.Name);
        foreach (var option in scenario.Options)
            command.Options.Add(option);
        string[] traces = context.Arguments.GetValue(_traces) is { } folder && scenario.Options.Any(option => option.Name == _traces.Name)
            ? [_traces.Name, folder.FullName]
            : [];
        return command.Parse(traces);
    }
}
