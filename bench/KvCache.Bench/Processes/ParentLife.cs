using System.Runtime.InteropServices;

namespace KvCache.Bench.Processes;

/// <summary>What a child process needs to live exactly as long as its parent.</summary>
internal static class ParentLife
{
    /// <summary>Completes when the parent closed our standard input or died.</summary>
    public static async Task EndAsync()
    {
        await using var input = Console.OpenStandardInput();
        await input.CopyToAsync(Stream.Null);
    }

    /// <summary>
    /// Ctrl+C in a terminal reaches every process of the group. Children leave it to the parent to stop in order,
    /// otherwise the parent would report their broken connections instead of the interruption.
    /// </summary>
    public static IDisposable IgnoreInterrupts() => PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
}
