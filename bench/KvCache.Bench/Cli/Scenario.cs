using System.CommandLine;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Cli;

/// <summary>One sub-command: something that is measured and reported as a whole.</summary>
internal abstract class Scenario
{
    /// <summary>Name of the sub-command and of the report.</summary>
    public abstract string Name { get; }

    /// <summary>One sentence for the help.</summary>
    public abstract string Description { get; }

    /// <summary>Options of this scenario, beside the common ones.</summary>
    public virtual IEnumerable<Option> Options => [];

    /// <summary>Interleaved rounds where the command line names none.</summary>
    public virtual int DefaultRounds => 7;

    /// <summary>Measures, on a thread of its own.</summary>
    /// <inheritdoc cref="Run"/>
    public Task<BenchReport> RunAsync(ScenarioContext context, CancellationToken cancellation) =>
        Task.Factory.StartNew(() => Run(context, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>
    /// Measures, and blocks the thread. Reports progress through the context's log, never on standard output.
    /// </summary>
    /// <exception cref="OperationCanceledException">The user interrupted; servers that were started have been stopped.</exception>
    public abstract BenchReport Run(ScenarioContext context, CancellationToken cancellation);
}

/// <summary>What the command line said.</summary>
/// <param name="Arguments">Read the scenario's own options from here.</param>
/// <param name="GivenRounds">Rounds that were asked for, or null for each scenario's own.</param>
/// <param name="Rounds">Rounds of every interleaved run.</param>
/// <param name="Redis">Address of a running Redis, or null to start one where it is installed.</param>
/// <param name="Log">Progress, to standard error.</param>
internal sealed record ScenarioContext(ParseResult Arguments, int? GivenRounds, int Rounds, System.Net.EndPoint? Redis, Action<string> Log);
