using System.Globalization;
using KvCache.Processes;
using KvCache.Testing;
using static System.StringComparison;

namespace KvCache.ProcessTests;

/// <summary>
/// What everyone who launches a program can rely on. That it ends with a killed parent is a test of the quick start, such a parent.
/// </summary>
public sealed class ChildProcessTests
{
    [Fact]
    public async Task A_program_that_ends_before_it_is_ready_is_reported_with_its_last_words()
    {
        await using var child = Shell("echo one; echo two >&2; exit 7");

        var e = await Assert.ThrowsAsync<ChildProcessException>(() => child.WaitUntilReadyAsync<string>(() => null, Eventually.Bound));

        Assert.Contains("ended with code 7", e.Message, Ordinal);
        Assert.Contains("one", e.Message, Ordinal);
        Assert.Contains("two", e.Message, Ordinal);
    }

    [Fact]
    public async Task A_program_that_is_not_ready_in_time_is_reported()
    {
        await using var child = Shell("exec sleep 600");

        var e = await Assert.ThrowsAsync<ChildProcessException>(() => child.WaitUntilReadyAsync<string>(() => null, TimeSpan.Zero));

        Assert.Contains("was not ready within 0 s", e.Message, Ordinal);
        Assert.False(child.HasExited);
    }

    [Fact]
    public async Task Signals_reach_the_program_itself_and_its_exit_code_tells_of_them()
    {
        await using var asked = Shell("trap 'exit 3' TERM; echo ready; while true; do sleep 0.01; done");
        await using var killed = Shell("exec sleep 600");
        await Eventually.TrueAsync("the trap is set", () => asked.LastLines == "ready");
        killed.Pause();
        await Eventually.TrueAsync("it is stopped", () => File.ReadAllText($"/proc/{killed.Id}/stat").Contains(") T ", Ordinal));

        await killed.KillAsync();

        Assert.True(await asked.StopAsync());
        Assert.Equal(3, await asked.WaitAsync(TestContext.Current.CancellationToken));
        Assert.Equal(128 + 9, await killed.WaitAsync(TestContext.Current.CancellationToken));
        Assert.Throws<ChildProcessException>(killed.Resume);
    }

    [Fact]
    public async Task A_program_that_does_not_exist_ends_with_a_sentence()
    {
        await using var child = ChildProcess.Start(ProgramCommand.Of("/nowhere/program", []));

        Assert.Equal(127, await child.WaitAsync(TestContext.Current.CancellationToken));
        Assert.Contains("/nowhere/program", child.LastLines, Ordinal);
    }

    [Fact]
    public async Task What_is_sent_to_our_process_group_reaches_neither_a_program_nor_its_keeper()
    {
        await using var child = Shell("exec sleep 600");
        var keeper = int.Parse(Status(child.Id)[1], CultureInfo.InvariantCulture);

        var ours = Status(Environment.ProcessId)[2];

        Assert.NotEqual(ours, Status(child.Id)[2]);
        Assert.NotEqual(ours, Status(keeper)[2]);
    }

    // State, parent, process group, session: what follows the name, which is in parentheses.
    private static string[] Status(int process) => File.ReadAllText($"/proc/{process}/stat").Split(") ")[^1].Split(' ');

    private static ChildProcess Shell(string script) => ChildProcess.Start(ProgramCommand.Of("/bin/sh", ["-c", script]));
}
