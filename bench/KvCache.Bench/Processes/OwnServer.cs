using System.Collections.Concurrent;
using KvCache.Processes;

namespace KvCache.Bench.Processes;

/// <summary>
/// One of this program's hidden commands in a process of its own, with a folder. It announces its addresses, a line each and an empty one
/// at the end, and serves until it is asked to end.
/// </summary>
internal sealed class OwnServer : IDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(2);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-bench-");
    private readonly ChildProcess _process;

    private OwnServer(string command, string[] arguments, (string Name, string Value)[] environment)
    {
        var lines = new ConcurrentQueue<string>();
        _process = ChildProcess.Start(
            ProgramCommand.Own("KvCache.Bench.dll", [command, "--folder", _folder.FullName, .. arguments], environment), lines.Enqueue);
        try
        {
            Addresses = _process.WaitUntilReadyAsync(Announced, StartLimit).GetAwaiter().GetResult();
        }
        catch
        {
            Dispose();
            throw;
        }

        string[]? Announced() => lines.Contains("") ? [.. lines.TakeWhile(line => line.Length > 0)] : null;
    }

    /// <summary>What it announced.</summary>
    public IReadOnlyList<string> Addresses { get; }

    /// <exception cref="ChildProcessException">It did not start.</exception>
    public static OwnServer Start(string command, string[] arguments, params (string Name, string Value)[] environment) =>
        new(command, arguments, environment);

    /// <summary>The other side: announces addresses, and waits until the process is asked to end.</summary>
    public static async Task ServeAsync(IEnumerable<string> addresses, CancellationToken ended)
    {
        foreach (var address in addresses)
            Console.WriteLine(address);
        Console.WriteLine();
        await Task.Delay(Timeout.Infinite, ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose()
    {
        _process.Dispose();
        _folder.Delete(recursive: true);
    }
}
