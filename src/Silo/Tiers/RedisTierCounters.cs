using System.Diagnostics.Metrics;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers;

/// <summary>What the Redis tier counts; the meter <see cref="SiloCounters.MeterName"/> reads it.</summary>
internal sealed class RedisTierCounters : IDisposable
{
    private static readonly PersistOutcome[] PersistOutcomes = Enum.GetValues<PersistOutcome>();

    // What was deleted or has expired was not to be kept.
    private static readonly PersistOutcome[] Drops =
        [.. PersistOutcomes.Except([PersistOutcome.Persisted, PersistOutcome.Deleted, PersistOutcome.Expired])];

    private static readonly PromoteOutcome[] PromoteOutcomes = Enum.GetValues<PromoteOutcome>();
    private static readonly RedisFailure[] Failures = Enum.GetValues<RedisFailure>();

    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly Histogram<double> _persistTime;
    private readonly Histogram<double> _promoteTime;
    private readonly long[] _persists = new long[PersistOutcomes.Length];
    private readonly long[] _promotes = new long[PromoteOutcomes.Length];
    private readonly long[] _failures = new long[Failures.Length];
    private long _queuedBytes, _persistedBytes, _promotedBytes, _deleted, _used, _limit;
    private int _queuedBlocks, _pendingChanges;
    private volatile bool _breakerOpen;

    /// <summary>Registers the instruments.</summary>
    public RedisTierCounters()
    {
        var buckets =
            new InstrumentAdvice<double>
            {
                HistogramBucketBoundaries =
            [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30]
            };
        _persistTime =
            _meter.CreateHistogram(
            "kvcache.redis.persist.duration", "s", "Time of one write of a block to Redis that succeeded.", advice: buckets);
        _promoteTime =
            _meter.CreateHistogram(
            "kvcache.redis.promote.duration", "s", "Time of one read of a block from Redis that succeeded.", advice: buckets);
        _meter.CreateObservableCounter(
            "kvcache.redis.persist.blocks", () =>
            PersistOutcomes.Select(outcome => Of(PersistsWith(outcome), "outcome", outcome)), "{block}",
            "Blocks to be written to Redis, by what became of them.");
        _meter.CreateObservableCounter(
            "kvcache.redis.promote.blocks", () =>
            PromoteOutcomes.Select(outcome => Of(PromotesWith(outcome), "outcome", outcome)), "{block}",
            "Blocks to be read from Redis, by what became of them.");
        _meter.CreateObservableCounter(
            "kvcache.redis.errors", () =>
            Failures.Select(failure => Of(FailuresWith(failure), "kind", failure)), "{error}", "Failed calls to Redis, by kind.");
        _meter.CreateObservableCounter(
            "kvcache.redis.persist.bytes", () => Volatile.Read(ref _persistedBytes), "By", "Bytes of blocks written to Redis.");
        _meter.CreateObservableCounter(
            "kvcache.redis.promote.bytes", () => Volatile.Read(ref _promotedBytes), "By", "Bytes of blocks read from Redis.");
        _meter.CreateObservableCounter("kvcache.redis.deleted", () => Deletes, "{block}", "Blocks whose deletion Redis confirmed.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.redis.queued", () => QueuedBytes, "By", "Bytes of blocks that wait to be written, or are being written.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.redis.queued.blocks", () => QueuedBlocks, "{block}", "Blocks that wait to be written, or are being written.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.redis.changes.pending", () =>
            PendingChanges, "{block}", "Deletions and changed lives that Redis has not confirmed yet.");
        _meter.CreateObservableGauge(
            "kvcache.redis.breaker", () => BreakerOpen ? 1 : 0, "{breaker}", "1 while Redis is left alone because it failed.");
        _meter.CreateObservableGauge("kvcache.redis.memory.used", () => Volatile.Read(ref _used), "By", "Memory that Redis uses.");
        _meter.CreateObservableGauge(
            "kvcache.redis.memory.limit", () => Volatile.Read(ref _limit), "By", "Memory that Redis may use; 0 for no limit.");
    }

    /// <summary>Bytes of blocks that wait to be written, or are being written.</summary>
    public long QueuedBytes
    {
        get => Volatile.Read(ref _queuedBytes);
        internal set => Volatile.Write(ref _queuedBytes, value);
    }

    /// <summary>Blocks that wait to be written, or are being written.</summary>
    public int QueuedBlocks
    {
        get => Volatile.Read(ref _queuedBlocks);
        internal set => Volatile.Write(ref _queuedBlocks, value);
    }

    /// <summary>Deletions and changes of lives that Redis has not confirmed yet.</summary>
    public int PendingChanges
    {
        get => Volatile.Read(ref _pendingChanges);
        internal set => Volatile.Write(ref _pendingChanges, value);
    }

    /// <summary>Whether the circuit breaker is open.</summary>
    public bool BreakerOpen
    {
        get => _breakerOpen;
        internal set => _breakerOpen = value;
    }

    /// <summary>Blocks whose writing ended so.</summary>
    public long PersistsWith(PersistOutcome outcome) => Volatile.Read(ref _persists[(int)outcome]);

    /// <summary>Blocks that should have been written and were not, by reason; reasons that did not occur are left out.</summary>
    public IReadOnlyDictionary<PersistOutcome, long> GetDrops() =>
        Drops.Select(outcome => KeyValuePair.Create(outcome, PersistsWith(outcome))).Where(pair => pair.Value > 0).ToDictionary();

    /// <summary>Blocks whose promotion ended so.</summary>
    public long PromotesWith(PromoteOutcome outcome) => Volatile.Read(ref _promotes[(int)outcome]);

    /// <summary>Blocks whose deletion Redis confirmed.</summary>
    public long Deletes => Volatile.Read(ref _deleted);

    /// <summary>Calls that failed so.</summary>
    public long FailuresWith(RedisFailure failure) => Volatile.Read(ref _failures[(int)failure]);

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    internal void Persist(PersistOutcome outcome) => Interlocked.Increment(ref _persists[(int)outcome]);

    internal void Persisted(long bytes, TimeSpan time)
    {
        Interlocked.Add(ref _persistedBytes, bytes);
        _persistTime.Record(time.TotalSeconds);
    }

    internal void Promote(PromoteOutcome outcome) => Interlocked.Increment(ref _promotes[(int)outcome]);

    internal void Promoted(long bytes, TimeSpan time)
    {
        Interlocked.Add(ref _promotedBytes, bytes);
        _promoteTime.Record(time.TotalSeconds);
    }

    internal void Failed(RedisFailure failure) => Interlocked.Increment(ref _failures[(int)failure]);

    internal void Deleted(int keys) => Interlocked.Add(ref _deleted, keys);

    internal void Memory(long used, long limit)
    {
        Volatile.Write(ref _used, used);
        Volatile.Write(ref _limit, limit);
    }

    private static Measurement<long> Of<T>(long value, string tag, T tagValue)
        where T : struct, Enum => new(value, new KeyValuePair<string, object?>(tag, tagValue.ToString()));
}
