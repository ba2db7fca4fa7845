using System.Diagnostics;
using System.Globalization;

namespace KvCache.Processes;

/// <summary>A wrong wall clock for a program of ours (libfaketime).</summary>
internal static class FakeClock
{
    private const string Library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

    /// <summary>Why there is none here, in a sentence; null where there is.</summary>
    public static string? WhyNot => File.Exists(Library) ? null : "There is no libfaketime (Debian: faketime).";

    /// <summary>The command that runs another one with a wall clock that is wrong. Its monotonic clock is right.</summary>
    /// <param name="command">The program.</param>
    /// <param name="offset">How wrong, as in <c>+1h</c>.</param>
    public static ProcessStartInfo Set(ProcessStartInfo command, string offset)
    {
        // For this program alone: in the environment of its keeper the library would be loaded there first, and leave shared memory behind
        // under a number that nobody knows.
        var start = new ProcessStartInfo(
            "/usr/bin/env",
            [
                // Without the last one it reads its settings anew every few seconds, in every thread.
                $"LD_PRELOAD={Library}", $"FAKETIME={offset}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=3600",
                command.FileName, .. command.ArgumentList,
            ])
        {
            WorkingDirectory = command.WorkingDirectory,
        };
        start.Environment.Clear();
        foreach (var (name, value) in command.Environment)
            start.Environment[name] = value;
        return start;
    }

    /// <summary>Deletes what the library leaves in shared memory when its process is killed.</summary>
    /// <param name="process">Id of the process, which has ended.</param>
    public static void Clean(int process)
    {
        File.Delete(string.Create(CultureInfo.InvariantCulture, $"/dev/shm/faketime_shm_{process}"));
        File.Delete(string.Create(CultureInfo.InvariantCulture, $"/dev/shm/sem.faketime_sem_{process}"));
    }
}
