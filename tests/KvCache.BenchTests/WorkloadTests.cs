using System.CommandLine;
using KvCache.Bench.Simulation;
using KvCache.Bench.Strategies;
using KvCache.Benchmarks;
using KvCache.Eviction;

namespace KvCache.BenchTests;

public sealed class WorkloadTests
{
    public static TheoryData<string> Names => [.. Workload.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_workload_is_a_trace_and_the_same_for_the_same_seed(string name)
    {
        var trace = Workload.Make(name, 500, seed: 7);
        var again = Workload.Make(name, 500, seed: 7);
        var other = Workload.Make(name, 500, seed: 8);

        Assert.Equal(500, trace.Count);
        Assert.Equal(trace.SelectMany(Figures), again.SelectMany(Figures));
        Assert.NotEqual(trace.SelectMany(Figures), other.SelectMany(Figures));
        Assert.Equal(trace.OrderBy(request => request.Timestamp), trace);
        Assert.All(trace, request => Assert.Equal(
            (request.InputLength + TraceRequest.TokensPerBlock - 1) / TraceRequest.TokensPerBlock, request.HashIds.Count));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Equal_ids_are_equal_prefixes(string name)
    {
        // What stands before a block is the same wherever the block is.
        var before = new Dictionary<int, int>();
        foreach (var request in Workload.Make(name, 1000, seed: 1))
        {
            for (var i = 0; i < request.HashIds.Count; i++)
            {
                var parent = i == 0 ? -1 : request.HashIds[i - 1];
                Assert.Equal(parent, before.GetValueOrDefault(request.HashIds[i], parent));
                before[request.HashIds[i]] = parent;
            }
        }
    }

    [Theory]
    [InlineData("conversation", 0.2, 0.8)]
    [InlineData("agents", 0.8, 1)]
    [InlineData("documents", 0.6, 1)]
    [InlineData("system", 0.4, 0.9)]
    public void What_is_asked_again_is_what_such_traffic_asks_again(string name, double least, double most)
    {
        var trace = SimulatedTrace.Of(Workload.Make(name, 3000, seed: 1));
        var replay = new PolicyReplay(trace, trace.Blocks, EvictionPolicies.Create("lru", trace.Blocks), hints: false);

        Assert.InRange(trace.Requests.Sum(replay.Serve) / (double)trace.Accesses, least, most);
    }

    [Fact]
    public void A_workload_that_is_not_there_is_told_with_those_that_are()
    {
        var command = new Command("strategies");
        foreach (var option in new StrategiesScenario().Options)
            command.Options.Add(option);

        var error = Assert.Single(command.Parse(["--workload", "chats"]).Errors);

        Assert.Contains("'chats'", error.Message, StringComparison.Ordinal);
        Assert.Contains("conversation, agents, documents, system, mixed", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Workload.Make("chats", 1, 1));
    }

    private static IEnumerable<long> Figures(TraceRequest request) =>
        [request.Timestamp, request.InputLength, request.OutputLength, .. request.HashIds.Select(id => (long)id)];
}
