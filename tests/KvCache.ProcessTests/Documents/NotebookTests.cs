using System.Text.Json;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests.Documents;

/// <summary>
/// The programs of docs/notebook run against a real silo, and print what their notebooks show. That notebooks and pages have the programs'
/// prose and code is tested where they are made: python/tests/test_notebooks.py.
/// </summary>
public sealed class NotebookTests(NotebookTests.SharedSilo shared) : IClassFixture<NotebookTests.SharedSilo>
{
    private static readonly string Folder = Path.Combine(Repository.Root, "docs", "notebook");

    public static TheoryData<string> Parts =>
        [.. Directory.GetFiles(Folder, "part?.cs").Select(path => Path.GetFileNameWithoutExtension(path)).Order()];

    [Theory]
    [MemberData(nameof(Parts))]
    public async Task A_part_prints_what_its_notebook_shows(string part)
    {
        var pictures = Directory.CreateDirectory(Path.Combine(shared.Silo.Folder, part)).FullName;
        using var program = CompiledProgram.Of(part, File.ReadAllText(Path.Combine(Folder, $"{part}.cs")));

        var result = await ProgramResult.RunAsync(
            program.Command(("KVCACHE_ENDPOINT", shared.Silo.Unix), ("KVCACHE_PICTURES", pictures)), Eventually.Bound * 2);

        Assert.True(result.ExitCode == 0, $"{part} ended with code {result.ExitCode}:\n{result.Output}{result.Errors}");
        Assert.SkipWhen(result.Output.Contains("SKIPPED:", StringComparison.Ordinal), "There is no redis-server on PATH.");
        Varying.AssertShown(ShownBy(Path.Combine(Folder, $"{part}.ipynb")), result.Output);
        var inRepository = Directory.GetFiles(Path.Combine(Folder, "pictures"), $"{part}-*.svg").Select(path => Path.GetFileName(path));
        Assert.Equal(inRepository.Order(), Directory.GetFiles(pictures).Select(path => Path.GetFileName(path)).Order());
    }

    [Fact]
    public void There_are_six_parts() => Assert.Equal(6, Parts.Count);

    /// <summary>As a reader runs them. The SDK takes ten seconds to build each.</summary>
    [Theory]
    [MemberData(nameof(Parts))]
    [Trait("run", "long")]
    public async Task A_part_runs_by_dotnet_run(string part)
    {
        var result = await ProgramResult.RunAsync(
            ProgramCommand.Of(
                "dotnet", ["run", "-c", "Release", Path.Combine(Folder, $"{part}.cs")],
                ("KVCACHE_ENDPOINT", shared.Silo.Unix), ("KVCACHE_PICTURES", shared.Silo.Folder)),
            Eventually.Bound * 10);

        Assert.True(result.ExitCode == 0, $"{part} ended with code {result.ExitCode}:\n{result.Output}{result.Errors}");
    }

    // The outputs of all cells, one behind the other: text, and the lines that name pictures.
    private static string ShownBy(string notebook)
    {
        using var content = JsonDocument.Parse(File.ReadAllText(notebook));
        var lines = content.RootElement.GetProperty("cells").EnumerateArray()
            .Where(cell => cell.GetProperty("cell_type").GetString() == "code")
            .SelectMany(cell => cell.GetProperty("outputs").EnumerateArray())
            .Select(output => output.TryGetProperty("text", out var text) ? text : output.GetProperty("data").GetProperty("text/plain"))
            .Select(text => string.Concat(text.EnumerateArray().Select(line => line.GetString())).TrimEnd('\n'));
        return string.Join('\n', lines);
    }

    /// <summary>One silo for all parts; those that kill silos start their own.</summary>
    public sealed class SharedSilo : IAsyncLifetime
    {
        internal SiloProcess Silo { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Silo = await SiloProcess.StartAsync();

        public ValueTask DisposeAsync() => Silo.DisposeAsync();
    }
}
