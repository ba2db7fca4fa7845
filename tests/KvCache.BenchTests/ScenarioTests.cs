using System.CommandLine;
using KvCache.Bench.Cli;
using KvCache.Bench.Cores;
using KvCache.Bench.FirstToken;
using KvCache.Bench.Persist;
using KvCache.Bench.Reports;
using KvCache.Bench.Resp;
using KvCache.Bench.Simulation;
using KvCache.Bench.Strategies;
using KvCache.Chat.Gguf;

// Scenarios start silos, and one of the tests changes PATH.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace KvCache.BenchTests;

/// <summary>Whole scenarios, as small as they get: that they run, not how fast.</summary>
public sealed class ScenarioTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-tests-");
    private readonly List<string> _log = [];

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_cached_prefix_leads_to_the_same_token_over_every_transport()
    {
        var report = await RunAsync(new TtftScenario(), "--shape", "tiny", "--prefix", "512", "--tokens", "8", "--turns", "1");
        foreach (var transport in new[] { "tcp", "unix", "shm" })
        {
            Assert.Contains(report.Rows, row => row.Name == $"ttft.warm.{transport}");
            Assert.Contains(report.Rows, row => row.Name == $"ttft.warm.{transport}.whole");
            Assert.Contains(report.Rows, row => row.Name == $"load.{transport}");
            Assert.Contains(report.Ratios!, row => row.Name == $"ttft.warm.{transport}.whole/ttft.cold");
            Assert.Contains(_log, line => line.StartsWith($"ttft.warm.{transport}.whole: first token", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Prompts_of_llama_cpp_have_equal_logits_behind_what_a_silo_has()
    {
        var model = Path.Combine(_folder.FullName, "small.gguf");
        RandomModel.Write(model, new LlamaShape { Layers = 2, Dim = 64, Hidden = 64, Heads = 2, KvHeads = 1, HeadDim = 32 });

        var report = await RunAsync(
            new TtftScenario(), "--engine", "llama", "--model", model, "--lengths", "256,512", "--tokens", "8", "--threads", "1");

        foreach (var name in new[] { "llama.cold", "llama.warm", "llama.warm.load", "llama.warm.import", "llama.warm.decode" })
            Assert.Equal([1, 2], report.Rows.OfType<RateRow>().Where(row => row.Name == name).Select(row => row.Batch));
        Assert.Equal(2, _log.Count(line => line.EndsWith("equal logits", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Operations_of_one_store_are_told_beside_what_spinning_threads_gain()
    {
        var report = await RunAsync(new CoresScenario(), "--blocks", "16384", "--threads", "2");
        foreach (var name in new[] { "spin", "lease", "put" })
            Assert.Equal([1, 2], report.Rows.OfType<RateRow>().Where(row => row.Name == name).Select(row => row.Connections));
        Assert.All(report.Rows.OfType<RateRow>(), row => Assert.True(row.Median > 0, row.Name));
        Assert.Equal(
            ["spin.2/spin.1", "lease.2/lease.1", "put.2/put.1", "lease/spin", "put/spin", "put.full.p99/put.empty.p99"],
            report.Ratios!.Select(ratio => ratio.Name));
    }

    [Fact]
    public async Task A_model_that_is_not_there_is_skipped_and_says_so()
    {
        var report = await RunAsync(new TtftScenario(), "--model", Path.Combine(_folder.FullName, "none"));
        Assert.Contains("no model", report.Skipped, StringComparison.Ordinal);
        Assert.Contains(_log, line => line.StartsWith("SKIPPED", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Nodes_of_a_cluster_find_what_others_stored_and_each_way_to_keep_it_has_its_rows()
    {
        // Two nodes take turns: the second request of a prompt comes to the node that did not compute it.
        File.WriteAllLines(Path.Combine(_folder.FullName, "trace.jsonl"), Enumerable.Range(0, 12).Select(i =>
            $$"""{"timestamp":{{i}},"input_length":1000,"output_length":1,"hash_ids":[{{i / 2 * 2}},{{(i / 2 * 2) + 1}}]}"""));
        var report = await RunAsync(
            new StrategiesScenario(), "--traces", _folder.FullName, "--before", "2", "--requests", "10", "--nodes", "2", "--bytes", "4096",
                "--capacity", "1024");
        foreach (var (
            name, least, most) in new[] { ("none", 0, 0), ("local", 0, 0), ("silo.tcp", 0.5, 0.5), ("silo.unix", 0.5, 0.5),
            ("tiered.unix", 0.5, 0.5),
            ("cluster.tcp", 0.1, 0.5), ("cluster.shm", 0.1, 0.5) })
        {
            // A silo hears a moment later what another one has; a request that comes sooner does not find it.
            Assert.InRange(Assert.IsType<RateRow>(report.Rows.Single(row => row.Name == $"hit_rate.{name}")).Median, least, most);
            Assert.Contains(report.Rows, row => row.Name == $"loaded.{name}");
            Assert.Contains(report.Rows, row => row.Name == $"cost.{name}");
            Assert.Equal(0, Assert.IsType<RateRow>(report.Rows.Single(row => row.Name == $"errors.{name}")).Max);
            Assert.Single(report.Summary!.Lines, line => line[0] == name);
        }
    }

    [Fact]
    public async Task What_a_scenario_cannot_do_without_is_named_and_the_scenario_skipped()
    {
        var path = Environment.GetEnvironmentVariable("PATH");
        Environment.SetEnvironmentVariable("PATH", _folder.FullName);
        try
        {
            foreach (var (scenario, lacks) in new (
                Scenario, string)[] { (new PersistScenario(), "redis-server"), (new RespScenario(), "redis-server") })
                Assert.Contains(lacks, (await RunAsync(scenario)).Skipped, StringComparison.Ordinal);
            foreach (var scenario in new Scenario[] { new SimulationScenario(), new StrategiesScenario() })
                Assert.Contains("no traces", (await RunAsync(scenario, "--traces", _folder.FullName)).Skipped, StringComparison.Ordinal);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
        }
    }

    private Task<BenchReport> RunAsync(Scenario scenario, params string[] arguments)
    {
        var command = new Command(scenario.Name);
        foreach (var option in scenario.Options)
            command.Options.Add(option);
        var parsed = command.Parse(arguments);
        Assert.Empty(parsed.Errors);
        return scenario.RunAsync(new ScenarioContext(parsed, 1, 1, null, _log.Add), TestContext.Current.CancellationToken);
    }
}
