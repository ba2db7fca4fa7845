using System.CommandLine;
using System.CommandLine.Parsing;
using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Reports;
using KvCache.Bench.Reports.Html;
using KvCache.Bench.Silos;
using KvCache.Processes;
using Spectre.Console;

namespace KvCache.Bench.Cli;

/// <summary>The command line: one sub-command per scenario, options common to all, hidden commands for the processes that we
/// start.</summary>
internal static class BenchCommand
{
    private const int Interrupted = 130;
    private const int Failed = 1;

    private static readonly Option<bool> Json = new("--json")
    {
        Description = "Print one JSON object on standard output instead of tables.",
        Recursive = true,
    };

    private static readonly Option<int?> Rounds = new("--rounds")
    {
        Description = "Interleaved rounds; every contender runs once in each (default 7, ttft 3).",
        Recursive = true,
    };

    private static readonly Option<EndPoint?> Redis = new("--redis")
    {
        Description = "HOST:PORT of a running Redis. Without it, redis-server is started where it is installed.",
        HelpName = "HOST:PORT",
        CustomParser = ParseEndPoint,
        Recursive = true,
    };

    private static readonly Option<DirectoryInfo?> Report = new("--report")
    {
        Description = "Also write the figures as a page with plots, report.html, into this folder.",
        HelpName = "DIR",
        Recursive = true,
    };

    public static RootCommand Create(params IReadOnlyList<Scenario> scenarios)
    {
        Rounds.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int?>() is < 1 or > 1000)
                result.AddError("--rounds must be 1 to 1000.");
        });
        var root = new RootCommand("Measures KvCache against raw sockets, memory copies and Redis, in interleaved rounds with warm memory.")
        {
            Json,
            Rounds,
            Redis,
            Report,
        };
        foreach (var scenario in scenarios)
            root.Subcommands.Add(CreateCommand(scenario, scenarios.ToDictionary(one => one.Name, one => one.Description)));
        root.Subcommands.Add(CreateRawServer());
        root.Subcommands.Add(CreateIndexedSilo());
        return root;
    }

    private static Command CreateCommand(Scenario scenario, IReadOnlyDictionary<string, string> descriptions)
    {
        var command = new Command(scenario.Name, scenario.Description);
        foreach (var option in scenario.Options)
            command.Options.Add(option);
        command.SetAction((arguments, cancellation) => RunAsync(scenario, descriptions, arguments, cancellation));
        return command;
    }

    private static async Task<int> RunAsync(
        Scenario scenario, IReadOnlyDictionary<string, string> descriptions, ParseResult arguments, CancellationToken cancellation)
    {
        var rounds = arguments.GetValue(Rounds);
        var context =
            new ScenarioContext(arguments, rounds, rounds ?? scenario.DefaultRounds, arguments.GetValue(Redis), Console.Error.WriteLine);
        try
        {
            var report = await scenario.RunAsync(context, cancellation);
            if (arguments.GetValue(Report) is { } folder)
            {
                var origin = new ReportOrigin(
                    DateTimeOffset.Now, ReportOrigin.Join(arguments.Tokens.Select(token => token.Value)), ReportOrigin.DescribeMachine(),
                    descriptions);
                context.Log($"Written: {HtmlReport.Write(report, folder, origin)}");
            }

            if (arguments.GetValue(Json))
                Console.WriteLine(report.ToJson());
            else
                ReportTable.Write(report, AnsiConsole.Console);
            return 0;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            context.Log("Interrupted.");
            return Interrupted;
        }
        catch (Exception e)
            when (e is ChildProcessException or IOException or InvalidOperationException or System.Net.Sockets.SocketException)
        {
            context.Log($"{scenario.Name} failed: {e.Message}");
            return Failed;
        }
    }

    private static EndPoint? ParseEndPoint(ArgumentResult result)
    {
        var text = result.Tokens.Single().Value;
        if (IPEndPoint.TryParse(text, out var address) && address.Port > 0)
            return address;
        var colon = text.LastIndexOf(':');
        if (colon > 0 && ushort.TryParse(text[(colon + 1)..], out var port) && port > 0)
            return new DnsEndPoint(text[..colon], port, System.Net.Sockets.AddressFamily.InterNetwork);
        result.AddError($"--redis must be HOST:PORT; got '{text}'.");
        return null;
    }

    private static Command CreateRawServer()
    {
        var folder = new Option<string>("--folder") { Required = true };
        var memory = new Option<long>("--memory") { Required = true };
        var command = new Command("raw-server", "The other end of the raw loop.") { folder, memory };
        command.Hidden = true;
        command.SetAction((arguments, ended) => RawServer.RunAsync(arguments.GetRequiredValue(folder), arguments.GetValue(memory), ended));
        return command;
    }

    private static Command CreateIndexedSilo()
    {
        var folder = new Option<string>("--folder") { Required = true };
        var blocks = new Option<int>("--blocks") { Required = true };
        var command = new Command("indexed-silo", "A silo whose index is full.") { folder, blocks };
        command.Hidden = true;
        command.SetAction(
            (arguments, ended) => IndexedSiloHost.RunAsync(arguments.GetRequiredValue(folder), arguments.GetValue(blocks), ended));
        return command;
    }
}
