using System.Diagnostics.Metrics;
using KvCache.Engine.Storage;
using KvCache.Silo.Telemetry;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>What became of a block that left the memory.</summary>
internal enum DemoteOutcome
{
    /// <summary>It is on the disk.</summary>
    Written,

    /// <summary>It is too small, too large, or about to end.</summary>
    Unsuited,

    /// <summary>The disk has had its part of writes for now.</summary>
    Wear,

    /// <summary>It was deleted meanwhile.</summary>
    Deleted,

    /// <summary>The disk failed.</summary>
    Failed,
}

/// <summary>What the disk tier counts; the meter <see cref="SiloCounters.MeterName"/> reads it.</summary>
internal sealed class DiskCounters : IDisposable
{
    private static readonly DemoteOutcome[] Demotes = Enum.GetValues<DemoteOutcome>();
    private static readonly PromoteOutcome[] Promotes = Enum.GetValues<PromoteOutcome>();

    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly Histogram<double> _readTime;
    private readonly Histogram<double> _age;
    private readonly long[] _demotes = new long[Demotes.Length];
    private readonly long[] _promotes = new long[Promotes.Length];
    private readonly TimeProvider _time;
    private readonly long _began;
    private long _writtenBytes, _readBytes, _movedBytes, _failed, _ahead;

    /// <summary>Registers the instruments.</summary>
    public DiskCounters(TimeProvider time)
    {
        _time = time;
        _began = time.GetTimestamp();
        _readTime = _meter.CreateHistogram(
            "kvcache.disk.read.duration", "s", "Time of one read of a block from the disk that succeeded.",
            advice: new InstrumentAdvice<double>
            {
                HistogramBucketBoundaries = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
            });
        _age = _meter.CreateHistogram(
            "kvcache.disk.read.age", "s", "Time since a block that was read from the disk had been stored.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [1, 10, 60, 600, 3600, 21_600, 86_400, 604_800] });
        _meter.CreateObservableCounter(
            "kvcache.disk.demote.blocks", () => Demotes.Select(outcome => Of(DemotesWith(outcome), outcome)), "{block}",
            "Blocks that left the memory and were not on the disk, by what it did with them.");
        _meter.CreateObservableCounter(
            "kvcache.disk.promote.blocks", () => Promotes.Select(outcome => Of(PromotesWith(outcome), outcome)), "{block}",
            "Blocks to be read from the disk, by what became of them.");
        _meter.CreateObservableCounter(
            "kvcache.disk.write.bytes", () => WrittenBytes, "By", "Bytes written to the disk, those that were moved included.");
        _meter.CreateObservableCounter(
            "kvcache.disk.move.bytes", () => Volatile.Read(ref _movedBytes), "By",
            "Bytes that were written once more to keep what is read.");
        _meter.CreateObservableCounter("kvcache.disk.read.bytes", () => ReadBytes, "By", "Bytes of blocks read from the disk.");
        _meter.CreateObservableCounter(
            "kvcache.disk.errors", () => Failures, "{error}", "Calls of the disk that failed, or took too long.");
    }

    /// <summary>Bytes written, those that were moved included.</summary>
    public long WrittenBytes => Volatile.Read(ref _writtenBytes);

    /// <summary>Bytes of blocks read.</summary>
    public long ReadBytes => Volatile.Read(ref _readBytes);

    /// <summary>Calls that failed.</summary>
    public long Failures => Volatile.Read(ref _failed);

    /// <summary>Blocks read before anybody asked for them.</summary>
    public long Ahead => Volatile.Read(ref _ahead);

    /// <summary>Blocks that left the memory so.</summary>
    public long DemotesWith(DemoteOutcome outcome) => Volatile.Read(ref _demotes[(int)outcome]);

    /// <summary>Blocks whose reading ended so.</summary>
    public long PromotesWith(PromoteOutcome outcome) => Volatile.Read(ref _promotes[(int)outcome]);

    /// <summary>How often a day all of it is written, as far as this silo has lived.</summary>
    public double WritesPerDay(long size) => WrittenBytes / (double)size / Math.Max(1.0 / 24, _time.GetElapsedTime(_began).TotalDays);

    /// <summary>Registers what the tier itself knows.</summary>
    public void Watch(DiskIndex index, BlockStore store, DiskHealth reading, DiskHealth writing, long size)
    {
        _meter.CreateObservableGauge(
            "kvcache.disk.breaker",
            () => new Measurement<int>[]
            {
                new(reading.IsOpen ? 1 : 0, new KeyValuePair<string, object?>("way", "reading")),
                new(writing.IsOpen ? 1 : 0, new KeyValuePair<string, object?>("way", "writing")),
            },
            "{breaker}", "1 while the disk is not read, or not written, because that failed.");
        _meter.CreateObservableCounter(
            "kvcache.disk.ahead.blocks",
            () => UsedOf(store.UsedAhead),
            "{block}", "Blocks that were read before anybody asked for them, by whether somebody has.");
        _meter.CreateObservableUpDownCounter("kvcache.disk.blocks", () => index.Count, "{block}", "Blocks that can be read from the disk.");
        _meter.CreateObservableUpDownCounter("kvcache.disk.bytes", () => index.LiveBytes, "By", "Bytes of blocks on the disk.");
        _meter.CreateObservableUpDownCounter("kvcache.disk.used", () => index.Bytes, "By", "Bytes of the files on the disk.");
        _meter.CreateObservableUpDownCounter("kvcache.disk.capacity", () => size, "By", "Bytes that the files may have.");
        _meter.CreateObservableGauge(
            "kvcache.disk.wear", () => WritesPerDay(size), "1/d", "How often a day the whole size was written, since the silo began.");
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    internal void Demote(DemoteOutcome outcome) => Interlocked.Increment(ref _demotes[(int)outcome]);

    internal void Promote(PromoteOutcome outcome) => Interlocked.Increment(ref _promotes[(int)outcome]);

    internal void Wrote(long bytes, bool moved = false)
    {
        Interlocked.Add(ref _writtenBytes, bytes);
        if (moved)
            Interlocked.Add(ref _movedBytes, bytes);
    }

    internal void Read(long bytes, TimeSpan time, TimeSpan age)
    {
        Interlocked.Add(ref _readBytes, bytes);
        _readTime.Record(time.TotalSeconds);
        _age.Record(age.TotalSeconds);
    }

    internal void Failed() => Interlocked.Increment(ref _failed);

    internal void ReadAhead() => Interlocked.Increment(ref _ahead);

    private Measurement<long>[] UsedOf(long used) =>
    [
        new(used, new KeyValuePair<string, object?>("used", "true")),
        new(Ahead - used, new KeyValuePair<string, object?>("used", "false")),
    ];

    private static Measurement<long> Of<T>(long value, T outcome)
        where T : struct, Enum => new(value, new KeyValuePair<string, object?>("outcome", outcome.ToString()));
}
