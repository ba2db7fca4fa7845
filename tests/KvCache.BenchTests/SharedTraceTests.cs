using KvCache.Bench.Simulation;
using KvCache.Benchmarks;
using KvCache.Eviction;
using KvCache.Testing;

namespace KvCache.BenchTests;

/// <summary>Short cells of docs/eviction.md on the public traces, which lie beside the repository where they are at all.</summary>
public sealed class SharedTraceTests
{
    [Theory]
    [InlineData("conversation_trace.jsonl", 1000, "lru/t", 0.0445, 0.0445)]
    [InlineData("conversation_trace.jsonl", 1000, "min", 0.1907, 0.1907)]
    [InlineData("conversation_trace.jsonl", 1000, "default", 0.0700, 0.1907)]
    [InlineData("conversation_trace.jsonl", 10_000, "lru/t", 0.2116, 0.2116)]
    [InlineData("conversation_trace.jsonl", 10_000, "default", 0.2270, 0.3664)]
    [InlineData("synthetic_trace.jsonl", 3000, "lru/t", 0.1906, 0.1906)]
    [InlineData("synthetic_trace.jsonl", 3000, "default", 0.2080, 0.4467)]
    public void Cells_are_as_documented(string file, int capacity, string policy, double least, double most)
    {
        var path = Repository.Beside($"shared/traces/{file}");
        Assert.SkipWhen(path is null, $"There is no shared/traces/{file} beside the repository.");
        var trace = SimulatedTrace.Of(TraceRequest.Read(path));
        long hits;
        if (policy == "min")
        {
            hits = OfflineOptimum.Hits(trace, capacity, default);
        }
        else
        {
            var replay = new PolicyReplay(trace, capacity, EvictionPolicies.Create(policy, capacity), hints: false);
            hits = trace.Requests.Sum(request => (long)replay.Serve(request));
        }

        Assert.InRange(Math.Round((double)hits / trace.Accesses, 4), least, most);
    }
}
