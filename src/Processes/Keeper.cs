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
    // In a session of its own where there is setsid: what a terminal or `timeout` sends to our process group is for us alone, who stop
    // children in order. A keeper that is ended leaves its child behind.
    private const string Detached = """exec $(command -v setsid) /bin/sh -c "$0" sh "$@" """;

    // The child says its id before it becomes the program. It is asked first: a silo deletes the file of its arena, gigabytes that nobody
    // else gives back.
    private const string Script = """
        trap '' INT HUP
        exec 3<&0
        /bin/sh -c 'echo $$; exec "$@"' sh "$@" 3<&- </dev/null &
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
        var start = new ProcessStartInfo("/bin/sh", ["-c", Detached, Script, command.FileName, .. command.ArgumentList])
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
