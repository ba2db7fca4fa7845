using System.CommandLine;
using System.Globalization;
using KvCache.Chaos.Faults;
using KvCache.Chaos.Load;
using KvCache.Chaos.Reports;
using KvCache.Chaos.Worlds;
using Spectre.Console;

namespace KvCache.Chaos.Cli;

/// <summary>The command line.</summary>
internal static class ChaosCommand
{
    private const int Broken = 1, WrongUse = 2;

    private static readonly Option<double> Minutes = new("--minutes")
    {
        Description = "How long rounds of all faults are begun. Default: one round.",
    };

    private static readonly Option<long> Reads = new("--reads")
    {
        Description = "Rounds go on until so many blocks were read and compared.",
    };

    private static readonly Option<long> Seed = new("--seed")
    {
        Description = "What the load and the order of faults derive from.",
        DefaultValueFactory = _ => 1,
    };

    private static readonly Option<string[]> Faults = new("--faults")
    {
        Description = "Only these, with commas between them. Default: all.",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<int> Silos = new("--silos")
    {
        Description = "Silos of the cluster, 2 to 8.",
        DefaultValueFactory = _ => 3,
    };

    private static readonly Option<int> Workers = new("--workers")
    {
        Description = "Engines that work the silos, 1 to 64.",
        DefaultValueFactory = _ => 4,
    };

    private static readonly Option<int> Pace = new("--pace")
    {
        Description = "Milliseconds between two calls of an engine, 0 to 1000.",
        DefaultValueFactory = _ => 1,
    };

    private static readonly Option<bool> Loopback = new("--loopback")
    {
        Description = "No network namespaces, also where they could be made.",
    };

    private static readonly Option<DirectoryInfo?> Logs = new("--logs")
    {
        Description = "Keep the silos' logs in this folder.",
        HelpName = "DIR",
    };

    private static readonly Option<bool> Json = new("--json")
    {
        Description = "Print one JSON object on standard output instead of the table.",
        Recursive = true,
    };

    public static RootCommand Create()
    {
        Within(Silos, 2, 8);
        Within(Workers, 1, 64);
        Within(Pace, 0, 1000);
        Faults.Validators.Add(result =>
        {
            foreach (var name in Names(result.GetValueOrDefault<string[]>()).Where(name => !FaultCatalogue.Has(name)))
                result.AddError($"'{name}' is not a fault; {string.Join(", ", FaultCatalogue.Names)} were expected.");
        });
        var list = string.Join('\n', FaultCatalogue.Names.Select(name => $"  {name,-16}{FaultCatalogue.Create(name).Description}"));
        var root = new RootCommand(
            "Breaks a cluster of real silos in every way it knows, under a load that compares every byte, and says which promises were "
            + "broken.\n"
            + $"Faults:\n{list}")
        {
            Minutes,
            Reads,
            Seed,
            Faults,
            Silos,
            Workers,
            Pace,
            Loopback,
            Logs,
            Json,
        };
        root.Subcommands.Add(FuzzCommand.Create(Json));
        root.SetAction((parsed, cancellationToken) => RunAsync(new ChaosSettings
        {
            Seed = parsed.GetValue(Seed),
            Silos = parsed.GetValue(Silos),
            Faults = Names(parsed.GetValue(Faults)) is { Count: > 0 } names ? names : FaultCatalogue.Names,
            Duration = TimeSpan.FromMinutes(parsed.GetValue(Minutes)),
            LeastReads = parsed.GetValue(Reads),
            UseNamespaces = !parsed.GetValue(Loopback),
            Logs = parsed.GetValue(Logs),
            Load = new WorkloadSettings(parsed.GetValue(Workers), TimeSpan.FromMilliseconds(parsed.GetValue(Pace))),
        }, parsed.GetValue(Json), cancellationToken));
        return root;
    }

    private static async Task<int> RunAsync(ChaosSettings settings, bool json, CancellationToken cancellationToken)
    {
        if (!ChaosRedis.IsInstalled)
        {
            await Console.Error.WriteLineAsync("There is no redis-server on PATH (Debian: redis-server); a real one was expected.");
            return WrongUse;
        }

        // Progress is for whoever waits, not for what reads the report.
        var report = await ChaosRun.RunAsync(settings, Console.Error.WriteLine, cancellationToken).ConfigureAwait(false);
        if (json)
            Console.WriteLine(report.ToJson());
        else
            ChaosTable.Write(report, AnsiConsole.Console);
        return report.IsGood ? 0 : Broken;
    }

    private static List<string> Names(string[]? words) =>
        [.. (words ?? []).SelectMany(word => word.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))];

    private static void Within(Option<int> option, int least, int most) => option.Validators.Add(result =>
    {
        if (result.GetValueOrDefault<int>() is var value && (value < least || value > most))
            result.AddError(string.Create(CultureInfo.InvariantCulture, $"{option.Name} is {value}; {least} to {most} was expected."));
    });
}
