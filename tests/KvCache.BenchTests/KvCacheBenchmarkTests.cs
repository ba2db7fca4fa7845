using KvCache.Benchmarks;
using KvCache.Client;

namespace KvCache.BenchTests;

/// <summary>The comparison of strategies as a program calls it.</summary>
public sealed class KvCacheBenchmarkTests
{
    private static readonly IReadOnlyList<TraceRequest> Requests = Workload.Make("system", requests: 60, seed: 1);

    [Fact]
    public async Task A_cache_that_all_nodes_share_hits_more_than_one_in_each_process_and_that_more_than_none()
    {
        var shared = new LocalKvCache(ByteSize.MiB(64));
        var benchmark = new KvCacheBenchmark(new BenchmarkOptions { Nodes = 2, BlockBytes = 4096, Memory = ByteSize.MiB(64) });
        benchmark.Add("shared", _ => shared);

        var report = await benchmark.RunAllAsync(Requests, TestContext.Current.CancellationToken);

        Assert.Equal(["none", "local", "shared"], report.Rows.Select(row => row.Strategy));
        Assert.Equal(60, report.Requests);
        Assert.Equal(0, report.Rows[0].HitRate);
        Assert.InRange(report.Rows[1].HitRate, 0.01, report.Rows[2].HitRate - 0.001);
        Assert.True(report.Rows[2].CostPerMillionTokens < report.Rows[0].CostPerMillionTokens);
        Assert.All(report.Rows, row => Assert.Contains(row.Strategy, report.ToString(), StringComparison.Ordinal));
    }

    [Fact]
    public async Task Requests_before_counting_begins_fill_caches_and_are_not_counted()
    {
        var options = new BenchmarkOptions { Nodes = 1, BlockBytes = 4096 };
        IReadOnlyList<TraceRequest> twice = [.. Requests, .. Requests];

        var report = await new KvCacheBenchmark(options with { Before = 60 }).RunAllAsync(twice, TestContext.Current.CancellationToken);

        Assert.Equal(60, report.Requests);
        Assert.Equal(1, report.Rows[1].HitRate);
    }

    [Fact]
    public async Task Too_few_requests_are_said()
    {
        var benchmark = new KvCacheBenchmark(new BenchmarkOptions { Before = 60 });

        var error = await Assert.ThrowsAsync<ArgumentException>(
            () => benchmark.RunAllAsync(Requests, TestContext.Current.CancellationToken));

        Assert.Contains("60 requests", error.Message, StringComparison.Ordinal);
    }
}
