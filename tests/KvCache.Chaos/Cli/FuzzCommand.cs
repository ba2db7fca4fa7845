using System.CommandLine;
using System.Globalization;
using KvCache.Chaos.Fuzz;
using Spectre.Console;

namespace KvCache.Chaos.Cli;

/// <summary>The command <c>fuzz</c>.</summary>
internal static class FuzzCommand
{
    private const int Broken = 1;

    private static readonly Option<long> Inputs = new("--inputs")
    {
        Description = "Mutated inputs for parsers and sessions in this process.",
        DefaultValueFactory = _ => 200_000,
    };

    private static readonly Option<long> Live = new("--live")
    {
        Description = "Mutated inputs at the sockets of a silo in a process of its own.",
        DefaultValueFactory = _ => 20_000,
    };

    private static readonly Option<long> Seed = new("--seed")
    {
        Description = "What the inputs derive from.",
        DefaultValueFactory = _ => 1,
    };

    private static readonly Option<DirectoryInfo?> Record = new("--record")
    {
        Description = "Write the corpus into this folder instead: what our own clients and writers say.",
        Hidden = true,
    };

    public static Command Create(Option<bool> json)
    {
        var command = new Command("fuzz", "Feeds mutated input of all formats to the parsers and sessions of a silo.")
        {
            Inputs,
            Live,
            Seed,
            Record,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (parsed.GetValue(Record) is { } folder)
            {
                await using var silo = await InnerSilo.StartAsync().ConfigureAwait(false);
                await CorpusRecorder.RecordAsync(silo, folder).ConfigureAwait(false);
                return 0;
            }

            var report = await FuzzRun.RunAsync(
                parsed.GetValue(Inputs), parsed.GetValue(Live), parsed.GetValue(Seed), Console.Error.WriteLine, cancellationToken)
                .ConfigureAwait(false);
            if (parsed.GetValue(json))
                Console.WriteLine(report.ToJson());
            else
                Write(report, AnsiConsole.Console);
            return report.IsGood ? 0 : Broken;
        });
        return command;
    }

    private static void Write(FuzzReport report, IAnsiConsole console)
    {
        var table = new Table().RoundedBorder().AddColumn("format");
        foreach (var name in (string[])["inputs", "seconds", "inputs/s", "failures"])
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var row in report.Rows)
        {
            table.AddRow([.. ((string[])[
                row.Format, row.Inputs.ToString("N0", CultureInfo.InvariantCulture), row.Seconds.ToString("0.0",
                    CultureInfo.InvariantCulture),
                (row.Inputs / Math.Max(row.Seconds, 0.001)).ToString("N0", CultureInfo.InvariantCulture),
                row.Failures.Count.ToString(CultureInfo.InvariantCulture)]).Select(Markup.Escape)]);
        }

        console.Write(table);
        console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Seed {report.Seed}, {report.Cpus} CPUs, {report.Seconds:0} s until {report.Ended:u}: {report.Inputs:N0} inputs."));
        foreach (var failure in report.Rows.SelectMany(row => row.Failures))
            console.WriteLine(failure);
    }
}
