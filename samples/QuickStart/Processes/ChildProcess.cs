using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KvCache.QuickStart;

/// <summary>
/// A .NET program of the output folder as a process of its own. It ends with this object: politely, and by force where that
/// does not help.
/// </summary>
public sealed partial class ChildProcess : IAsyncDisposable
{
    private const int TailLines = 15;
    private const int SigTerm = 15;
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);

    private readonly Process _process;
    private readonly Queue<string> _tail = new();

    private ChildProcess(Process process) => _process = process;

    /// <summary>Process id.</summary>
    public int Id => _process.Id;

    /// <summary>Whether it has ended.</summary>
    public bool HasExited => _process.HasExited;

    /// <summary>Memory that it occupies in bytes.</summary>
    public long MemoryBytes
    {
        get
        {
            _process.Refresh();
            return _process.HasExited ? 0 : _process.WorkingSet64;
        }
    }

    /// <summary>The last lines that it wrote and nobody else received: for messages about its failure.</summary>
    public string LastLines
    {
        get
        {
            lock (_tail)
                return string.Join('\n', _tail);
        }
    }

    /// <summary>Starts a program.</summary>
    /// <param name="assembly">File name of its assembly, in the folder of this program.</param>
    /// <param name="arguments">Command line.</param>
    /// <param name="environment">Variables besides the inherited ones.</param>
    /// <param name="onOutput">Receives the lines of the standard output, on one thread at a time; null adds them to <see cref="LastLines"/>.</param>
    public static ChildProcess Start(string assembly, IEnumerable<string> arguments, IReadOnlyDictionary<string, string> environment, Action<string>? onOutput = null)
    {
        var start = new ProcessStartInfo(DotnetHost(), [Path.Combine(AppContext.BaseDirectory, assembly), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        var child = new ChildProcess(new Process { StartInfo = start });
        child._process.OutputDataReceived += (_, line) => Receive(line.Data, onOutput ?? child.Keep);
        child._process.ErrorDataReceived += (_, line) => Receive(line.Data, child.Keep);
        child._process.Start();
        child._process.BeginOutputReadLine();
        child._process.BeginErrorReadLine();
        return child;
    }

    /// <summary>Waits for the end of the process and of its output.</summary>
    /// <returns>Exit code.</returns>
    public async Task<int> WaitAsync(CancellationToken cancellationToken = default)
    {
        await _process.WaitForExitAsync(cancellationToken);
        return _process.ExitCode;
    }

    /// <summary>Asks the process to end (SIGTERM) and ends it (SIGKILL) after ten seconds.</summary>
    /// <returns>Whether it ended by itself.</returns>
    public async Task<bool> StopAsync()
    {
        if (_process.HasExited)
            return true;
        if (Signal(_process.Id, SigTerm) == 0)
        {
            using var patience = new CancellationTokenSource(Grace);
            try
            {
                await _process.WaitForExitAsync(patience.Token);
                return true;
            }
            catch (OperationCanceledException)
            {
                // It had its time.
            }
        }

        await KillAsync();
        return false;
    }

    /// <summary>Ends the process at once (SIGKILL), as a crash would.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _process.Dispose();
    }

    // The host that runs this very program: also right where the program was started through its own executable.
    private static string DotnetHost() =>
        Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", "dotnet"));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);

    private static void Receive(string? line, Action<string> receive)
    {
        if (line is not null) // null is the end
            receive(line);
    }

    private void Keep(string line)
    {
        lock (_tail)
        {
            if (_tail.Count == TailLines)
                _tail.Dequeue();
            _tail.Enqueue(line);
        }
    }
}

/// <summary>A program that was started did not do what it was started for.</summary>
public sealed class ChildProcessException : Exception
{
    /// <summary>Creates the exception.</summary>
    public ChildProcessException()
    {
    }

    /// <summary>Creates the exception with a message.</summary>
    public ChildProcessException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with a message and its cause.</summary>
    public ChildProcessException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
