using System.Diagnostics;
using System.Text;

namespace KvCache.Processes;

/// <summary>What a program that ended by itself said.</summary>
/// <param name="ExitCode">Its exit code.</param>
/// <param name="Output">Its standard output.</param>
/// <param name="Errors">Its standard error.</param>
internal sealed record ProgramResult(int ExitCode, string Output, string Errors)
{
    /// <summary>Runs a program to its end.</summary>
    /// <exception cref="ChildProcessException">It did not end within the bound, and was killed.</exception>
    public static async Task<ProgramResult> RunAsync(ProcessStartInfo command, TimeSpan bound)
    {
        var output = new StringBuilder();
        var errors = new StringBuilder();
        await using var program = ChildProcess.Start(
            command, line => output.Append(line).Append('\n'), line => errors.Append(line).Append('\n'));
        try
        {
            var exitCode = await program.WaitAsync().WaitAsync(bound).ConfigureAwait(false);
            return new ProgramResult(exitCode, output.ToString(), errors.ToString());
        }
        catch (TimeoutException)
        {
            await program.KillAsync().ConfigureAwait(false);
            var words = string.Join(' ', command.ArgumentList);
            throw new ChildProcessException($"{command.FileName} {words} did not end within {bound.TotalSeconds:0} s:\n{output}{errors}");
        }
    }
}
