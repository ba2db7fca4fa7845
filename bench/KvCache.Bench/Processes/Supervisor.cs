using System.Diagnostics;

namespace KvCache.Bench.Processes;

/// <summary>The hidden <c>supervise</c> command: runs a program until our standard input closes.</summary>
internal static class Supervisor
{
    public static async Task<int> RunAsync(string program, IEnumerable<string> arguments)
    {
        using var interrupts = ParentLife.IgnoreInterrupts();
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardInput = true };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} could not be started.");
        var ended = process.WaitForExitAsync();
        await Task.WhenAny(ended, ParentLife.EndAsync());
        if (!process.HasExited)
            process.Kill(entireProcessTree: true);
        await ended;
        return 0;
    }
}
