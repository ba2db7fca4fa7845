namespace KvCache.ProcessTests;

/// <summary>Ordinary clients of other languages, unchanged.</summary>
[Collection(typeof(CachingSilo))]
public sealed class RespClientTests(CachingSilo silo)
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private string Port => silo.Process.Ready.Resp.Split(':')[1];

    [Fact]
    public async Task Redis_py_works_with_its_locks_and_transactions()
    {
        const string Python = "/usr/bin/python3";
        Assert.SkipUnless(File.Exists(Python), "There is no /usr/bin/python3.");
        var module = await Report.RunAsync(ProgramCommand.Of(Python, ["-c", "import redis"]), Patience);
        Assert.SkipUnless(module.ExitCode == 0, "/usr/bin/python3 has no redis (on Debian: python3-redis).");
        await AssertOkAsync(Python, "-B", Script("redis_py.py"), Port);
    }

    [Fact]
    public async Task The_clients_of_node_work_with_locks_and_transactions()
    {
        var tools = Environment.GetEnvironmentVariable("KVCACHE_NPM_TOOLS");
        Assert.SkipWhen(
            string.IsNullOrEmpty(tools) || !Directory.Exists(Path.Combine(tools, "node_modules", "ioredis")),
            "KVCACHE_NPM_TOOLS names no folder with node_modules of ioredis and redis (npm install)");
        await AssertOkAsync("node", Script("node_clients.mjs"), Port, tools!);
    }

    private static string Script(string name) => Path.Combine(AppContext.BaseDirectory, "Resp", name);

    private static async Task AssertOkAsync(string program, params string[] arguments)
    {
        var result = await Report.RunAsync(ProgramCommand.Of(program, arguments), Patience);
        var said = result.Output + result.Errors;
        Assert.True(result.ExitCode == 0 && said.TrimEnd().EndsWith("ok", StringComparison.Ordinal), said);
    }
}
