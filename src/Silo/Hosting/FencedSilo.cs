using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace KvCache.Silo.Hosting;

/// <summary>
/// What a silo does when Orleans says that it must not go on, above all because the cluster has declared it dead: it ends at once, with a
/// sentence and an exit code, or starts anew as another member. Orleans' own way is an abort with a core dump.
/// </summary>
internal sealed partial class FencedSilo(
    LeftFiles left, StartTerms terms, ILocalSiloDetails local, ILogger<FencedSilo> logger) : IFatalErrorHandler
{
    /// <summary>Exit code of a silo that the cluster has declared dead, or that Orleans gave up.</summary>
    public const int ExitCode = 3;

    // Enough that the cluster sees two silos, one after the other.
    private static readonly TimeSpan RejoinPause = TimeSpan.FromSeconds(1);

    // For what runs when a process exits; it has nothing left to do that matters.
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(2);

    private int _ending;

    public bool IsUnexpected(Exception exception) => exception is not ThreadAbortException;

    public void OnFatalException(object? sender, string? context, Exception? exception)
    {
        // Whoever calls expects not to come back.
        if (Interlocked.Exchange(ref _ending, 1) != 0)
            Thread.Sleep(Timeout.Infinite);
        var reason = exception?.Message ?? context ?? "Orleans cannot go on";
        LogFenced(local.SiloAddress.ToString(), context, exception);
        Console.Error.WriteLine(
            $"kvcache-silo: This silo, {local.SiloAddress}, must not go on: {OneLine.Of(reason)} "
            + (terms.Rejoin
                ? "It starts anew, empty, as another member."
                : "It ends; its blocks are lost. Start it again, or let it come back by itself with --rejoin."));
        left.Delete();
        if (terms.Rejoin)
        {
            Thread.Sleep(RejoinPause);
            Restart();
        }

        new Thread(() =>
        {
            Thread.Sleep(ExitPatience);
            EndNow(ExitCode);
        })
        { IsBackground = true }.Start();
        Environment.Exit(ExitCode);
    }

    // The same program with the same arguments in the same process: a supervisor sees nothing of it, and no thread, socket or memory of
    // the dead silo is left.
    private static void Restart()
    {
        var arguments = File.ReadAllText("/proc/self/cmdline").Split('\0')[..^1];
        Execute("/proc/self/exe", [.. arguments, null]);
    }

    [LibraryImport("libc", EntryPoint = "execv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Execute(string path, string?[] arguments);

    [LibraryImport("libc", EntryPoint = "_exit")]
    private static partial void EndNow(int code);

    [LoggerMessage(Level = LogLevel.Critical, Message = "Silo {Silo} must not go on ({Context})")]
    private partial void LogFenced(string silo, string? context, Exception? exception);
}
