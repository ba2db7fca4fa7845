using System.Collections.Concurrent;
using System.Diagnostics;
using KvCache.Testing;

namespace KvCache.ProcessTests.Events;

/// <summary>A Python program on the other side of a ZeroMQ socket: the real library, not ours.</summary>
internal sealed class ZeroMqScript : IDisposable
{
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _lines = new();

    private ZeroMqScript(string python, string name, params string[] arguments)
    {
        _process = Process.Start(new ProcessStartInfo(python, [Path.Combine(AppContext.BaseDirectory, "Events", name), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        _process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is { } text)
                _lines.Enqueue(text);
        };
        _process.BeginOutputReadLine();
    }

    /// <summary>What it has written.</summary>
    public string[] Lines => [.. _lines];

    /// <summary>Starts a script, or skips the test where Python has no ZeroMQ.</summary>
    public static ZeroMqScript Start(string name, params string[] arguments)
    {
        // Debian's packages belong to Debian's Python, which need not be the first one on the path.
        var python = new[] { "/usr/bin/python3", "python3" }.FirstOrDefault(HasZeroMq);
        Assert.SkipWhen(python is null, "python3 with zmq and msgpack is not installed (Debian: python3-zmq, python3-msgpack).");
        return new ZeroMqScript(python, name, arguments);
    }

    public void Say(string line)
    {
        _process.StandardInput.WriteLine(line);
        _process.StandardInput.Flush();
    }

    public async Task<string> FirstLineAsync()
    {
        await Eventually.TrueAsync(
            "the script has spoken", () =>
            !_lines.IsEmpty || (_process.HasExited ? throw new IOException($"The script ended with {_process.ExitCode}.") : false));
        return Lines[0];
    }

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    private static bool HasZeroMq(string python)
    {
        try
        {
            using var process =
                Process.Start(new ProcessStartInfo(python, ["-c", "import zmq, msgpack"]) { RedirectStandardError = true })!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
