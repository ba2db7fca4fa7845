using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using KvCache.Processes;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The quick start as a user runs it: a process that starts processes.</summary>
public sealed partial class QuickStartTests : IDisposable
{
    private const int Limit = 180_000;

    private readonly string _folder = Directory.CreateTempSubdirectory("quickstart-").FullName;
    private readonly List<string> _output = [];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact(Timeout = Limit)]
    public async Task The_cache_is_hit_over_a_unix_socket_and_changes_no_token()
    {
        await RunAsync(["--transport", "unix"], TestContext.Current.CancellationToken);

        AssertPassed();
    }

    [Fact(Timeout = Limit)]
    public async Task A_prompt_that_was_stored_through_one_of_three_silos_is_hit_through_another_when_the_first_was_killed()
    {
        await RunAsync(["--silos", "3"], TestContext.Current.CancellationToken);

        Assert.Contains(_output, line => line.StartsWith("Silo 2: killed (SIGKILL)", StringComparison.Ordinal));
        Assert.DoesNotContain(_output, line => line.Contains("Nothing was found", StringComparison.Ordinal));
        AssertPassed();
    }

    [Fact(Timeout = Limit)]
    public async Task The_cache_changes_no_token_of_somebody_elses_model()
    {
        var model = Repository.Beside("shared/models/stories260K.bin");
        if (model is null)
            Assert.Skip("stories260K.bin and tok512.model (karpathy/tinyllamas) are not in shared/models beside the repository.");

        await RunAsync(["--model", model], TestContext.Current.CancellationToken);

        AssertPassed();
    }

    [Fact(Timeout = Limit)]
    public async Task When_it_is_stopped_its_silo_stops_too()
    {
        await using var process = StartUntilItsSiloServes(out var serves);
        var silo = await serves.WaitAsync(TestContext.Current.CancellationToken);

        Assert.True(await process.StopAsync(), process.LastLines);

        Assert.Equal(130, await process.WaitAsync(TestContext.Current.CancellationToken));
        Assert.False(Lives(silo));
        Assert.Empty(Directory.EnumerateDirectories(_folder));
    }

    [Fact(Timeout = Limit)]
    public async Task When_it_is_killed_its_silo_ends_too()
    {
        await using var process = StartUntilItsSiloServes(out var serves);
        var silo = await serves.WaitAsync(TestContext.Current.CancellationToken);

        await process.KillAsync();

        await Eventually.TrueAsync("the silo of the killed quick start has ended", () => !Lives(silo));
    }

    [Fact(Timeout = Limit)]
    public async Task When_a_node_fails_its_words_are_shown()
    {
        await using var process = Start(_output.Add, "--model", Path.Combine(_folder, "missing"));

        Assert.Equal(1, await process.WaitAsync(TestContext.Current.CancellationToken));

        Assert.Contains("There is no model", process.LastLines, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateDirectories(_folder));
    }

    private async Task RunAsync(string[] arguments, CancellationToken cancellationToken)
    {
        await using var process = Start(_output.Add, arguments);
        var exitCode = await process.WaitAsync(cancellationToken);
        foreach (var line in _output)
            TestContext.Current.TestOutputHelper?.WriteLine(line);
        Assert.True(exitCode == 0, $"Exit code {exitCode}:\n{process.LastLines}");
    }

    private ChildProcess StartUntilItsSiloServes(out Task<int> silo)
    {
        var serves = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
        silo = serves.Task;
        return Start(line =>
        {
            if (SiloLine().Match(line) is { Success: true } match)
                serves.TrySetResult(int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture));
        });
    }

    private static bool Lives(int process) => Process.GetProcesses().Any(other => other.Id == process);

    // Its folder is made in TMPDIR, so that what it leaves behind is seen.
    private ChildProcess Start(Action<string> onOutput, params string[] arguments) =>
        ChildProcess.Start(ProgramCommand.Own("KvCache.QuickStart.dll", arguments, ("TMPDIR", _folder)), onOutput);

    private void AssertPassed()
    {
        Assert.Contains("identical: yes", _output);
        Assert.Contains("control: zeroed KV changes the text: yes", _output);
        Assert.Contains(_output, line => SiloStored().IsMatch(line));
        Assert.Equal(7, _output.Count(line => line.Contains("│ pass │", StringComparison.Ordinal)));
        Assert.Empty(Directory.EnumerateDirectories(_folder));
    }

    // The second figure is the silo's.
    [GeneratedRegex(@"│ blocks stored +│ \d+ +│ [1-9]\d* +│")]
    private static partial Regex SiloStored();

    [GeneratedRegex(@"^Silo: process (\d+) serves")]
    private static partial Regex SiloLine();
}
