using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class MetricsTests
{
    [Fact]
    public async Task The_meter_tells_what_became_of_blocks_and_how_long_it_took()
    {
        var seen = new ConcurrentDictionary<string, double>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, listening) =>
            {
                if (instrument.Meter.Name == SiloCounters.MeterName)
                    listening.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.Start();

        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var layout = TierFixture.LayoutOf(64 << 10);
        await fixture.PersistAsync(TierFixture.Key(1), layout);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(1), layout));
        Assert.Equal(PromoteOutcome.Absent, await fixture.PromoteAsync(TierFixture.Key(2), layout));
        Assert.True(await fixture.Tier.DeleteAsync([TierFixture.Key(1)], TestContext.Current.CancellationToken));
        listener.RecordObservableInstruments();

        Assert.Equal(1, seen["kvcache.redis.persist.blocks Persisted"]);
        Assert.Equal(0, seen["kvcache.redis.persist.blocks QueueFull"]);
        Assert.Equal(1, seen["kvcache.redis.promote.blocks Promoted"]);
        Assert.Equal(1, seen["kvcache.redis.promote.blocks Absent"]);
        Assert.Equal(64 << 10, seen["kvcache.redis.persist.bytes"]);
        Assert.Equal(64 << 10, seen["kvcache.redis.promote.bytes"]);
        Assert.Equal(1, seen["kvcache.redis.deleted"]);
        Assert.Equal(0, seen["kvcache.redis.errors Unreachable"]);
        foreach (var name in new[] { "queued", "queued.blocks", "changes.pending", "breaker" })
            Assert.Equal(0, seen[$"kvcache.redis.{name}"]);
        Assert.InRange(seen["kvcache.redis.persist.duration"], 0, 10);
        Assert.InRange(seen["kvcache.redis.promote.duration"], 0, 10);

        void Note(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
            seen[tags.Length > 0 ? $"{instrument.Name} {tags[0].Value}" : instrument.Name] = value;
    }
}
