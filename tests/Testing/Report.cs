using System.Diagnostics;
using KvCache.Processes;

namespace KvCache.Testing;

/// <summary>Lines of the running test's output.</summary>
internal static class Report
{
    public static void Line(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);

    /// <summary>Runs a program to its end, and reports what it said; one that does not end is killed and fails the test.</summary>
    public static async Task<ProgramResult> RunAsync(ProcessStartInfo command, TimeSpan bound)
    {
        var result = await ProgramResult.RunAsync(command, bound);
        Line($"{command.FileName} {string.Join(' ', command.ArgumentList)} ended with {result.ExitCode}:\n{result.Output}{result.Errors}");
        return result;
    }
}
