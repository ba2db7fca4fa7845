using System.Diagnostics;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>What a program that ended by itself said.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Errors)
{
    /// <summary>Runs a program to its end; one that does not end is killed and fails the test.</summary>
    public static async Task<ProgramResult> RunAsync(ProcessStartInfo start, TimeSpan bound)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using var process = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(bound);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(deadline.Token);
            var errors = process.StandardError.ReadToEndAsync(deadline.Token);
            await process.WaitForExitAsync(deadline.Token);
            var result = new ProgramResult(process.ExitCode, await output, await errors);
            Report.Line($"{start.FileName} {string.Join(' ', start.ArgumentList)} ended with {result.ExitCode}:\n{result.Output}{result.Errors}");
            return result;
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{start.FileName} {string.Join(' ', start.ArgumentList)} did not end within {bound.TotalSeconds:0} s.");
            throw;
        }
    }
}
