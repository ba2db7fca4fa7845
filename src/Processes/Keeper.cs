using System.Diagnostics;

namespace KvCache.Processes;

/// <summary>
/// A shell between us and a child. It holds the read end of a pipe whose write end is ours alone: when that closes, and a kernel closes it
/// even when we are killed, the keeper ends the child. Works for every program, without its help.
/// </summary>
/// <remarks>
/// PR_SET_PDEATHSIG would do this without a shell, but fires when the thread that forked ends, and threads of a pool end at any time.
/// </remarks>
internal static class Keeper
{
    // The child says its id before it becomes the program, and is in a session of its own where there is setsid: Ctrl+C in a terminal
    // is for us alone, who stop children in order. It is asked first: a silo deletes the file of its arena, gigabytes that nobody else
    // gives back.
    private const string Script = """
        trap '' INT HUP
        exec 3<&0
        /bin/sh -c 'echo $$; exec $(command -v setsid) "$@"' sh "$@" 3<&- </dev/null &
        child=$!
        {
          read -r _ <&3
          kill -TERM $child
          tries=50
          while [ $tries -gt 0 ] && kill -0 $child; do sleep 0.1; tries=$((tries - 1)); done
          kill -KILL $child
        } >/dev/null 2>&1 &
        watch=$!
        wait $child
        code=$?
        kill $watch
        exit $code
        """;

    /// <summary>The command that runs another one under a keeper. The first line of its output is the process id of the child.</summary>
    public static ProcessStartInfo Keep(ProcessStartInfo command)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", Script, "sh", command.FileName, .. command.ArgumentList])
        {
            WorkingDirectory = command.WorkingDirectory,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment.Clear();
        foreach (var (name, value) in command.Environment)
            start.Environment[name] = value;
        return start;
    }
}
