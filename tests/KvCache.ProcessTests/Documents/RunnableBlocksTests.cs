using System.Diagnostics;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests.Documents;

/// <summary>
/// Blocks of the README and of docs that are marked to be run are run, page by page, against one silo and a Redis, and print what the page
/// shows. docs/testing.md tells how blocks are marked.
/// </summary>
public sealed class RunnableBlocksTests(RunnableBlocksTests.Servers servers) : IClassFixture<RunnableBlocksTests.Servers>
{
    public static TheoryData<string> Pages => PagesWith("run");

    public static TheoryData<string> LongPages => PagesWith("run=long");

    [Theory]
    [MemberData(nameof(Pages))]
    public Task A_page_shows_what_its_blocks_print(string page) => RunAsync(page, "run", Eventually.Bound);

    /// <summary>What takes minutes: the quick start, benchmarks.</summary>
    [Theory]
    [MemberData(nameof(LongPages))]
    [Trait("run", "long")]
    public Task A_page_shows_what_its_long_blocks_print(string page) => RunAsync(page, "run=long", Eventually.Bound * 10);

    [Fact]
    public void The_readme_and_the_guides_have_blocks_that_run() => Assert.Superset(
        (HashSet<string>)
        [
            "README.md", "docs/guides/01-why.md", "docs/guides/02-how-it-works.md", "docs/guides/03-alternatives.md",
            "docs/guides/04-production.md",
        ],
        Pages.Concat(LongPages).Select(page => page.Data).ToHashSet());

    private static TheoryData<string> PagesWith(string mark) =>
        [.. DocumentBlock.Pages.Where(page => DocumentBlock.Of(page).Any(block => block.Mark == mark))];

    private async Task RunAsync(string page, string mark, TimeSpan bound)
    {
        var blocks = DocumentBlock.Of(page);
        for (var i = 0; i < blocks.Count; i++)
        {
            if (blocks[i].Mark != mark)
                continue;
            var text = servers.Localize(blocks[i].Text);
            using var program = blocks[i].Language == "csharp"
                ? CompiledProgram.Of($"block_{Path.GetFileNameWithoutExtension(page)}_{blocks[i].Line}", text)
                : null;
            var result = await ProgramResult.RunAsync(program?.Command() ?? Command(blocks[i], text), bound);

            Assert.True(result.ExitCode == 0, $"{blocks[i]} ended with code {result.ExitCode}:\n{result.Output}{result.Errors}");
            if (i + 1 < blocks.Count && blocks[i + 1].Mark == "output")
                Varying.AssertShown(blocks[i + 1].Text, result.Output);
        }
    }

    private static ProcessStartInfo Command(DocumentBlock block, string text)
    {
        var start = block.Language switch
        {
            "sh" => ProgramCommand.Of("/bin/bash", ["-euo", "pipefail", "-c", text]),
            "python" => ProgramCommand.Of(
                "/usr/bin/python3", ["-B", "-c", text], ("PYTHONPATH", Path.Combine(Repository.Root, "python"))),
            _ => throw new FormatException($"{block} is to be run, and is {block.Language}; sh, csharp or python was expected."),
        };
        start.WorkingDirectory = Repository.Root;
        return start;
    }

    /// <summary>A silo and a Redis, at addresses of their own.</summary>
    public sealed class Servers : IAsyncLifetime
    {
        private SiloProcess _silo = null!;
        private RedisProcess? _redis;

        /// <summary>A text with the addresses of these servers in place of those that documents name, and without a second build.</summary>
        public string Localize(string text)
        {
            if (text.Contains("localhost:6379", StringComparison.Ordinal))
                _redis ??= RedisProcess.Start();
            return text
                .Replace("/run/kvcache/silo.sock", _silo.UnixPath, StringComparison.Ordinal)
                .Replace("127.0.0.1:7400", _silo.Tcp["tcp:".Length..], StringComparison.Ordinal)
                .Replace("localhost:7480", new Uri(_silo.Ready.Http).Authority, StringComparison.Ordinal)
                .Replace("localhost:6379", _redis?.Tcp, StringComparison.Ordinal)
                .Replace("dotnet run -c Release", "dotnet run --no-build -c Release", StringComparison.Ordinal);
        }

        public async ValueTask InitializeAsync() => _silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "128MiB"));

        public ValueTask DisposeAsync()
        {
            _redis?.Dispose();
            return _silo.DisposeAsync();
        }
    }
}
