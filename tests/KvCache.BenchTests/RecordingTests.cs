using KvCache.Bench.Simulation;
using KvCache.Benchmarks;
using KvCache.Engine.Recording;
using KvCache.Testing;

namespace KvCache.BenchTests;

/// <summary>What a store records of its load is that load again to the simulator.</summary>
public sealed class RecordingTests
{
    [Theory]
    [InlineData("lru/t")]
    [InlineData("default")]
    public async Task A_recording_of_agents_gives_the_ratio_that_the_store_had(string policy)
    {
        var path = Repository.Beside("shared/traces/agentic_trace.jsonl.gz");
        Assert.SkipWhen(path is null, "There is no shared/traces/agentic_trace.jsonl.gz beside the repository.");
        await AssertSameAsync(SimulatedTrace.Of(TraceRequest.Read(path).Take(1500)), 1000, policy, tolerance: 0.005);
    }

    [Fact]
    public async Task A_recording_of_a_tree_of_prompts_gives_the_hits_that_the_store_had()
    {
        var random = new Random(3);
        var requests = Enumerable.Range(0, 2000).Select(second =>
        {
            var chain = new List<int> { 1 + random.Next(3) };
            while (chain.Count < 12 && random.Next(6) > 0)
                chain.Add((chain[^1] * 4) + random.Next(4));
            return new TraceRequest(
                second * 500, chain.Count * TraceRequest.TokensPerBlock, 1, [.. chain],
                End: second % 3 == 0 ? "tool_use" : second % 3 == 1 ? "end_turn" : null, Priority: second % 7 == 0 ? 80 : null,
                Retention: second % 11 == 0 ? 60 : null);
        });
        await AssertSameAsync(SimulatedTrace.Of(requests), 64, "default", tolerance: 0);
    }

    [Fact]
    public async Task A_recording_ends_at_its_bounds_and_is_whole()
    {
        var requests = Enumerable.Range(0, 500).Select(i => new TraceRequest(i * 1000, 2048, 1, [4 * i, (4 * i) + 1, (4 * i) + 2, (4 * i) + 3]));
        var (recorded, result, _) = await RecordAsync(SimulatedTrace.Of(requests), 64, "lru", new RecordingLimits { Blocks = 100 });
        Assert.Contains("100 different blocks", result.Reason);
        Assert.Equal(25, recorded.Count);
        Assert.All(recorded, request => Assert.Equal((4, 2048), (request.HashIds.Count, request.InputLength)));
        Assert.Equal(Enumerable.Range(0, 100), recorded.SelectMany(request => request.HashIds));
    }

    private static async Task AssertSameAsync(SimulatedTrace trace, int capacity, string policy, double tolerance)
    {
        var (requests, result, hits) = await RecordAsync(trace, capacity, policy, new RecordingLimits());
        Assert.Equal((0, "it was stopped"), (result.Lost, result.Reason));
        var recorded = SimulatedTrace.Of(requests);
        Assert.Equal((trace.Requests.Count, trace.Accesses, trace.Blocks), (recorded.Requests.Count, recorded.Accesses, recorded.Blocks));
        Assert.Equal(
            trace.Requests.Select(request => request.Hint).Where(hint => hint is not null),
            recorded.Requests.Select(request => request.Hint).Where(hint => hint is not null));
        using var again = new StoreCache(capacity, policy, hints: true);
        var simulated = recorded.Requests.Sum(request => (long)again.Serve(request));
        Assert.InRange((double)Math.Abs(simulated - hits) / trace.Accesses, 0, tolerance);
    }

    private static async Task<(List<TraceRequest> Requests, RecordingResult Result, long Hits)> RecordAsync(
        SimulatedTrace trace, int capacity, string policy, RecordingLimits limits)
    {
        var file = Path.Combine(Path.GetTempPath(), $"kvcache-{Guid.NewGuid():n}.jsonl.gz");
        try
        {
            using var cache = new StoreCache(capacity, policy, hints: true);
            var recording = new RequestRecording(limits);
            Assert.True(cache.Blocks.TryRecord(recording));
            Assert.False(cache.Blocks.TryRecord(new RequestRecording(limits)));
            Task<RecordingResult> writing;
            long hits = 0;
            await using (var output = File.Create(file))
            {
                writing = Task.Run(() => recording.WriteAsync(output, CancellationToken.None));
                foreach (var request in trace.Requests)
                {
                    hits += cache.Serve(request);
                    while (recording.Waiting > 1000)
                        await Task.Yield();
                }

                cache.Blocks.EndRecording(recording);
                await writing;
            }

            return (TraceRequest.Read(file), await writing, hits);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
