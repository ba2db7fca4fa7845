using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace KvCache.Processes;

/// <summary>
/// A program as a process of our own. It ends with this object: politely, and by force where that does not help. It ends with this
/// process too, however that ends: see <see cref="Keeper"/>.
/// </summary>
internal sealed partial class ChildProcess : IDisposable, IAsyncDisposable
{
    private const int TailLines = 15;
    private const int SigKill = 9, SigTerm = 15, SigCont = 18, SigStop = 19;
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(10);

    private readonly Process _keeper;
    private readonly string _name;
    private readonly Task _output;
    private readonly Queue<string> _tail = new();

    private ChildProcess(ProcessStartInfo command, Action<string>? onOutput, Action<string>? onError)
    {
        var isDotnet = Path.GetFileNameWithoutExtension(command.FileName) is "dotnet";
        _name = Path.GetFileName(isDotnet ? command.ArgumentList[0] : command.FileName);
        _keeper = Process.Start(Keeper.Keep(command))!;
        var id = _keeper.StandardOutput.ReadLine() ?? throw new ChildProcessException($"{_name} could not be started.");
        Id = int.Parse(id, CultureInfo.InvariantCulture);
        _output = Task.WhenAll(ReadAsync(_keeper.StandardOutput, onOutput ?? Keep), ReadAsync(_keeper.StandardError, onError ?? Keep));
    }

    /// <summary>Process id of the program.</summary>
    public int Id { get; }

    /// <summary>Whether it has ended, or was disposed.</summary>
    public bool HasExited
    {
        get
        {
            try
            {
                return _keeper.HasExited;
            }
            catch (InvalidOperationException)
            {
                return true; // disposed, perhaps at this moment
            }
        }
    }

    /// <summary>Memory that it occupies in bytes; 0 when it has ended.</summary>
    public long ResidentBytes
    {
        get
        {
            try
            {
                using var process = Process.GetProcessById(Id);
                return process.WorkingSet64;
            }
            catch (Exception e) when (e is ArgumentException or InvalidOperationException)
            {
                return 0;
            }
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
    /// <param name="command">Program, command line, working directory and environment.</param>
    /// <param name="onOutput">
    /// Receives the lines of the standard output, on one thread at a time; null adds them to <see cref="LastLines"/>.
    /// </param>
    /// <param name="onError">As <paramref name="onOutput"/>, for the standard error.</param>
    public static ChildProcess Start(ProcessStartInfo command, Action<string>? onOutput = null, Action<string>? onError = null) =>
        new(command, onOutput, onError);

    /// <summary>Waits until the program is ready, as something tells: a file, a line of its output, a port.</summary>
    /// <param name="ready">Null until it is ready.</param>
    /// <param name="limit">Longest wait.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <exception cref="ChildProcessException">It ended, or was not ready in time; the message has its last lines.</exception>
    public async Task<T> WaitUntilReadyAsync<T>(Func<T?> ready, TimeSpan limit, CancellationToken cancellationToken = default)
        where T : class
    {
        var began = Stopwatch.GetTimestamp();
        while (true)
        {
            var ended = HasExited; // before the question: what it left behind counts
            if (ready() is { } answer)
                return answer;
            if (ended)
            {
                var code = await WaitAsync(cancellationToken).ConfigureAwait(false);
                throw new ChildProcessException($"{_name} ended with code {code} before it was ready:\n{LastLines}");
            }

            if (Stopwatch.GetElapsedTime(began) > limit)
                throw new ChildProcessException($"{_name} was not ready within {limit.TotalSeconds:F0} s; its last lines:\n{LastLines}");
            await Task.Delay(Interval, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Waits for the end of the process and of its output.</summary>
    /// <returns>Exit code.</returns>
    public async Task<int> WaitAsync(CancellationToken cancellationToken = default)
    {
        await _keeper.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
        await _output.WaitAsync(cancellationToken).ConfigureAwait(false);
        return _keeper.ExitCode;
    }

    /// <summary>Asks the process to end (SIGTERM), and does not wait.</summary>
    /// <exception cref="ChildProcessException">It has ended.</exception>
    public void Terminate() => Expect(SigTerm);

    /// <summary>Stops it in its tracks, until <see cref="Resume"/>.</summary>
    /// <exception cref="ChildProcessException">It has ended.</exception>
    public void Pause() => Expect(SigStop);

    /// <summary>Lets it go on.</summary>
    /// <exception cref="ChildProcessException">It has ended.</exception>
    public void Resume() => Expect(SigCont);

    /// <summary>Asks the process to end (SIGTERM) and ends it (SIGKILL) after ten seconds.</summary>
    /// <returns>Whether it ended by itself.</returns>
    public async Task<bool> StopAsync()
    {
        if (HasExited)
            return true;
        Signal(SigTerm);
        try
        {
            await WaitAsync().WaitAsync(Grace).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            await KillAsync().ConfigureAwait(false);
            return false;
        }
    }

    /// <summary>Ends the process at once (SIGKILL), as a crash would.</summary>
    public async Task KillAsync()
    {
        Signal(SigKill);
        await WaitAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        _keeper.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    private bool Signal(int signal) => !HasExited && Kill(Id, signal) == 0;

    private void Expect(int signal)
    {
        if (!Signal(signal))
            throw new ChildProcessException($"{_name} has ended, and cannot be sent signal {signal}; its last lines:\n{LastLines}");
    }

    private static async Task ReadAsync(StreamReader reader, Action<string> receive)
    {
        while (await reader.ReadLineAsync().ConfigureAwait(false) is { } line)
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

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
