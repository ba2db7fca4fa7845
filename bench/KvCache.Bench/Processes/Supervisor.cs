using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KvCache.Bench.Processes;

/// <summary>The hidden <c>supervise</c> command: runs a program until our standard input closes.</summary>
internal static partial class Supervisor
{
    private const int SigTerm = 15;

    // Shorter than the time that whoever closes our input waits for us.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(4);

    public static async Task<int> RunAsync(string program, IEnumerable<string> arguments)
    {
        using var interrupts = ParentLife.IgnoreInterrupts();
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardInput = true };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} could not be started.");
        var ended = process.WaitForExitAsync();
        await Task.WhenAny(ended, ParentLife.EndAsync());
        if (!process.HasExited)
        {
            // Asked first: a silo deletes the file of its arena, gigabytes of memory that nobody else gives back.
            _ = Kill(process.Id, SigTerm);
            await Task.WhenAny(ended, Task.Delay(Grace));
            process.Kill(entireProcessTree: true);
        }

        await ended;
        return 0;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
