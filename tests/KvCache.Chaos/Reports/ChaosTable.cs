using System.Globalization;
using Spectre.Console;

namespace KvCache.Chaos.Reports;

/// <summary>The human form of a report.</summary>
internal static class ChaosTable
{
    public static void Write(ChaosReport report, IAnsiConsole console)
    {
        // What reads a pipe has no width.
        if (!console.Profile.Out.IsTerminal)
            console.Profile.Width = 200;
        var table = new Table().RoundedBorder().AddColumn("fault");
        foreach (var name in (string[])[
            "rounds", "verified reads", "wrong", "resurrected", "outlived", "stale", "failed calls", "last failure", "exceptions",
                "slowest call",
            "recovery", "other breaches"])
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var row in report.Rows)
            table.AddRow([.. Cells(row).Select(Markup.Escape)]);
        console.Write(table);
        console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Seed {report.Seed}, {report.Silos} silos, {report.Cpus} CPUs, {report.Seconds:0} s until {report.Ended:u}: "
            + $"{report.VerifiedReads} verified reads. {report.Network}."));
        console.WriteLine(
            $"At most {report.PeakArenaBytes >> 20} MiB of an arena were used, and {report.PeakOtherBytes >> 20} MiB beside it.");
        foreach (var row in report.Rows.Where(row => row.Note.Length > 0))
            console.WriteLine($"{row.Fault}: {row.Note}");
        foreach (var (fault, reason) in report.Skipped)
            console.WriteLine($"{fault} was left out: {reason}");
        foreach (var breach in report.Breaches.Take(40))
            console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"BROKEN {breach.Promise}, {breach.Seconds:0.0} s, {breach.Fault}: {breach.Sentence}"));
        console.WriteLine(report.IsGood ? "Every promise was kept." : $"Promises were broken: {report.Breaches.Count} times, or more.");
    }

    private static IEnumerable<string> Cells(FaultRow row)
    {
        yield return row.Fault;
        foreach (var number in (long[])[row.Rounds, row.VerifiedReads, row.Wrong, row.Resurrected, row.Outlived, row.Stale])
            yield return number.ToString("N0", CultureInfo.InvariantCulture);
        yield return string.Create(CultureInfo.InvariantCulture, $"{row.FailedCalls:N0} of {row.Calls:N0}");
        yield return row.FailedCalls > 0 ? Seconds(row.LastFailureSeconds) : "";
        yield return row.Exceptions.ToString(CultureInfo.InvariantCulture);
        yield return Seconds(row.SlowestCallSeconds);
        yield return row.RecoverySeconds is { } took ? Seconds(took) : row.Fault == "none" ? "" : "never";
        yield return row.OtherBreaches.ToString(CultureInfo.InvariantCulture);
    }

    private static string Seconds(double seconds) => seconds.ToString("0.0 s", CultureInfo.InvariantCulture);
}
