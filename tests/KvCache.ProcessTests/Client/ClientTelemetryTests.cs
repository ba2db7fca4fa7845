using System.Diagnostics;
using KvCache.Client;
using KvCache.ProcessTests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace KvCache.ProcessTests;

/// <summary>What an application sees of its cache in its own telemetry and health. The meter is one for the whole process, so nothing else
/// runs meanwhile.</summary>
[Collection(typeof(Apart))]
public sealed class ClientTelemetryTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("telemetry", KvLayout.Opaque(1024, 16));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_application_sees_matches_loads_and_stores_and_its_health_turns_with_the_silo()
    {
        var settings = new SiloSettings(Tcp: $"127.0.0.1:{LoopbackPort.FindFree()}", UseUnix: false);
        var silo = await SiloProcess.StartAsync(settings);
        try
        {
            await using var services = new ServiceCollection()
                .AddLogging()
                .AddKvCacheClient(options =>
                {
                    options.Endpoints.Add(silo.Tcp);
                    options.MatchTimeout = options.LoadTimeout = options.StoreTimeout = Eventually.Bound;
                    options.BreakerDelay = TimeSpan.FromMilliseconds(50);
                })
                .AddHealthChecks().AddKvCache().Services
                .BuildServiceProvider();
            var cache = services.GetRequiredService<IKvCache>();
            var health = services.GetRequiredService<HealthCheckService>();
            await AssertHealthAsync(health, HealthStatus.Healthy);

            await AssertTelemetryAsync(cache);

            await silo.KillAsync();
            var report = await AssertHealthAsync(health, HealthStatus.Degraded);
            Assert.Contains(silo.Tcp, report.Description, StringComparison.Ordinal);
            await AssertFailureAsync(cache, silo.Tcp);
            await silo.DisposeAsync();
            silo = await SiloProcess.StartAsync(settings);
            await AssertHealthAsync(health, HealthStatus.Healthy);
        }
        finally
        {
            await silo.DisposeAsync();
        }
    }

    private static async Task AssertTelemetryAsync(IKvCache cache)
    {
        using var recorded = new Recorded();
        var prefix = Prefixes.New(Ns, 3);
        await cache.StoreAsync(prefix, 0, prefix.Blocks()[..2], null, Token);
        await cache.MatchAsync(prefix, default, Token);
        await cache.LoadAsync(prefix, 0, prefix.Memory(3), cancellationToken: Token);

        Assert.Equal(["kvcache store", "kvcache match", "kvcache load"], recorded.Spans.Select(span => span.DisplayName));
        Assert.All(recorded.Spans, span => Assert.Equal((ActivityKind.Client, "silo"), (span.Kind, span.GetTagItem("kvcache.tier"))));
        Assert.All(recorded.Spans, span => Assert.Equal(ActivityStatusCode.Unset, span.Status)); // what is only absent is no error
        var (store, match, load) = (recorded.Spans[0], recorded.Spans[1], recorded.Spans[2]);
        Assert.Equal((2, 2, 2048L, null), TagsOf(store));
        Assert.Equal((3, 2, null, "absent"), TagsOf(match));
        Assert.Equal((3, 2, 2048L, "absent"), TagsOf(load));

        Assert.Equal(2, recorded.Sum("kvcache.client.blocks", "store"));
        Assert.Equal(2, recorded.Sum("kvcache.client.blocks", "match"));
        Assert.Equal(2, recorded.Sum("kvcache.client.blocks", "load"));
        Assert.Equal(2048, recorded.Sum("kvcache.client.io", "store"));
        Assert.Equal(2048, recorded.Sum("kvcache.client.io", "load"));
        Assert.Equal(0, recorded.Sum("kvcache.client.misses", "store"));
        Assert.Equal(1, recorded.Sum("kvcache.client.misses", "match", ("kvcache.miss.reason", "absent")));
        Assert.Equal(1, recorded.Sum("kvcache.client.misses", "load", ("kvcache.miss.reason", "absent")));
        foreach (var operation in new[] { "store", "match", "load" })
            Assert.Equal(1, recorded.Sum("kvcache.client.operation.duration", operation));
    }

    private static async Task AssertFailureAsync(IKvCache cache, string endpoint)
    {
        using var recorded = new Recorded();
        var prefix = Prefixes.New(Ns, 2);
        await cache.LoadAsync(prefix, 0, prefix.Memory(2), cancellationToken: Token);
        var span = Assert.Single(recorded.Spans);
        Assert.Equal((2, 0, 0L, "unavailable"), TagsOf(span));
        Assert.Equal((ActivityStatusCode.Error, "unavailable"), (span.Status, span.GetTagItem("error.type")));
        Assert.Contains(endpoint, span.StatusDescription, StringComparison.Ordinal);
        Assert.Equal(2, recorded.Sum("kvcache.client.misses", "load", ("kvcache.miss.reason", "unavailable")));
        Assert.Equal(1, recorded.Sum("kvcache.client.operation.duration", "load", ("error.type", "unavailable")));
    }

    private static (object? Wanted, object? Had, object? Bytes, object? Reason) TagsOf(Activity span) => (
        span.GetTagItem("kvcache.blocks.wanted"), span.GetTagItem("kvcache.blocks"), span.GetTagItem("kvcache.bytes"),
        span.GetTagItem("kvcache.miss.reason"));

    private static async Task<HealthReportEntry> AssertHealthAsync(HealthCheckService health, HealthStatus status)
    {
        HealthReportEntry entry = default;
        await Eventually.TrueAsync($"the cache is {status}", async () =>
        {
            entry = (await health.CheckHealthAsync(Token)).Entries["kvcache"];
            return entry.Status == status;
        });
        return entry;
    }

    /// <summary>What OpenTelemetry exports from its creation on.</summary>
    private sealed class Recorded : IDisposable
    {
        private readonly List<Activity> _spans = [];
        private readonly List<MetricSnapshot> _metrics = [];
        private readonly TracerProvider _tracing;
        private readonly MeterProvider _metering;

        public Recorded()
        {
            _tracing = Sdk.CreateTracerProviderBuilder().AddSource(KvCacheTelemetry.ActivitySourceName).AddInMemoryExporter(_spans).Build();
            _metering = Sdk.CreateMeterProviderBuilder().AddMeter(KvCacheTelemetry.MeterName).AddInMemoryExporter(_metrics).Build();
        }

        public List<Activity> Spans
        {
            get
            {
                _tracing.ForceFlush();
                return _spans;
            }
        }

        /// <summary>Sum of a counter, or count of a histogram, over the points of an operation that have the tags.</summary>
        public long Sum(string instrument, string operation, params (string Key, string Value)[] tags)
        {
            _metrics.Clear();
            _metering.ForceFlush();
            var sum = 0L;
            foreach (var point in _metrics.Where(metric => metric.Name == instrument).SelectMany(metric => metric.MetricPoints))
            {
                var has = new Dictionary<string, object?>();
                foreach (var tag in point.Tags)
                    has[tag.Key] = tag.Value;
                if (Equals(has["kvcache.operation"], operation) && Equals(has["kvcache.tier"], "silo")
                    && tags.All(tag => Equals(has.GetValueOrDefault(tag.Key), tag.Value)))
                    sum += instrument.EndsWith("duration", StringComparison.Ordinal) ? point.GetHistogramCount() : point.GetSumLong();
            }

            return sum;
        }

        public void Dispose()
        {
            _tracing.Dispose();
            _metering.Dispose();
        }
    }
}
