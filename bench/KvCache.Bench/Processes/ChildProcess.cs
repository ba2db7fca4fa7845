using System.Diagnostics;

namespace KvCache.Bench.Processes;

/// <summary>
/// A server that lives as long as the benchmark. Its standard input is a pipe of ours: when that closes, whether by
/// <see cref="Dispose"/> or because this process died, the other end ends itself. Nothing needs to survive to clean up.
/// </summary>
/// <remarks>
/// Programs of others do not watch their standard input; <see cref="Supervised"/> runs them under the hidden <c>supervise</c> command, which does.
/// </remarks>
internal sealed class ChildProcess : IDisposable
{
    private static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(5);
    private readonly Process _process;

    private ChildProcess(Process process) => _process = process;

    /// <summary>Standard output of the child.</summary>
    public StreamReader Output => _process.StandardOutput;

    public bool HasExited => _process.HasExited;

    /// <summary>Starts one of this program's own hidden commands.</summary>
    public static ChildProcess Own(params IEnumerable<string> arguments) => Start(SelfCommand.Create(arguments));

    /// <summary>Starts another program, with additions to its environment.</summary>
    public static ChildProcess Supervised(string program, IEnumerable<string> arguments, params IEnumerable<(string Name, string Value)> environment) =>
        OwnWith(environment, ["supervise", "--", program, .. arguments]);

    /// <summary>As <see cref="Own"/>, with additions to its environment.</summary>
    public static ChildProcess OwnWith(IEnumerable<(string Name, string Value)> environment, params IEnumerable<string> arguments)
    {
        var start = SelfCommand.Create(arguments);
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return Start(start);
    }

    public void Dispose()
    {
        try
        {
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The child has gone first.
        }
        if (!_process.WaitForExit(EndLimit))
            _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    private static ChildProcess Start(ProcessStartInfo start)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        return new ChildProcess(Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} could not be started."));
    }
}
