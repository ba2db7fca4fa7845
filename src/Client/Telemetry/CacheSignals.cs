using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace KvCache.Client.Telemetry;

/// <summary>
/// Spans and instruments of all caches of a process. Costs next to nothing while nobody listens, and allocates nothing for
/// instruments.
/// </summary>
/// <remarks>
/// Named as OpenTelemetry's semantic conventions ask (https://opentelemetry.io/docs/specs/semconv/general/naming/): units in UCUM, no
/// unit in a name, <c>error.type</c> for what failed. A block that is only absent is no error.
/// </remarks>
internal static class CacheSignals
{
    private const string OperationKey = "kvcache.operation", TierKey = "kvcache.tier", ReasonKey = "kvcache.miss.reason";
    private const string ErrorKey = "error.type";

    private static readonly ActivitySource Source = new(KvCacheTelemetry.ActivitySourceName);
    private static readonly Meter Meter = new(KvCacheTelemetry.MeterName);

    private static readonly Histogram<double> Duration = Meter.CreateHistogram<double>(
        "kvcache.client.operation.duration", "s", "Time of matches, loads and stores.",
        advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [.. Boundaries()] });

    private static readonly Counter<long> Blocks = Meter.CreateCounter<long>(
        "kvcache.client.blocks", "{block}", "Blocks that were found, loaded or stored.");

    private static readonly Counter<long> Missed = Meter.CreateCounter<long>(
        "kvcache.client.misses", "{block}", "Blocks that were looked for or asked for in vain, or were not stored.");

    private static readonly Counter<long> Bytes = Meter.CreateCounter<long>(
        "kvcache.client.io", "By", "Bytes loaded into, or stored from, the caller's memory.");

    /// <summary>Tells of a call that has ended.</summary>
    /// <param name="operation"><c>match</c>, <c>load</c> or <c>store</c>.</param>
    /// <param name="tier">Kind of the cache.</param>
    /// <param name="done">Blocks that it found, loaded or stored, those that were stored before included.</param>
    /// <param name="wanted">Blocks that it was to.</param>
    /// <param name="bytes">Bytes that it moved for them.</param>
    /// <param name="reason">Why not all of them.</param>
    /// <param name="error">What went wrong, in words; null for nothing.</param>
    /// <param name="elapsed">Its time.</param>
    public static void Ended(
        string operation, string tier, int done, int wanted, long bytes, MissReason reason, string? error, TimeSpan elapsed)
    {
        var isError = reason is not (MissReason.None or MissReason.Absent);
        var tags = new TagList { { OperationKey, operation }, { TierKey, tier } };
        if (done > 0)
            Blocks.Add(done, tags);
        if (bytes > 0)
            Bytes.Add(bytes, tags);
        if (done < wanted)
        {
            var missed = tags;
            missed.Add(ReasonKey, NameOf(reason));
            Missed.Add(wanted - done, missed);
        }

        if (isError)
            tags.Add(ErrorKey, NameOf(reason));
        Duration.Record(elapsed.TotalSeconds, tags);
        if (Source.HasListeners())
            Trace(operation, tier, done, wanted, bytes, reason, isError ? error ?? "" : null, elapsed);
    }

    // Nothing of ours is inside of a span, so it is made when it has ended.
    private static void Trace(
        string operation, string tier, int done, int wanted, long bytes, MissReason reason, string? error, TimeSpan elapsed)
    {
        var began = DateTimeOffset.UtcNow - elapsed;
        using var span = Source.StartActivity(
            ActivityKind.Client,
            startTime: began,
            tags: [new(OperationKey, operation), new(TierKey, tier)],
            name: $"kvcache {operation}");
        if (span is null)
            return;
        span.SetTag("kvcache.blocks.wanted", wanted);
        span.SetTag("kvcache.blocks", done);
        if (operation != "match")
            span.SetTag("kvcache.bytes", bytes);
        if (done < wanted)
            span.SetTag(ReasonKey, NameOf(reason));
        if (error is null)
            return;
        span.SetTag(ErrorKey, NameOf(reason));
        span.SetStatus(ActivityStatusCode.Error, error);
    }

    private static string NameOf(MissReason reason) => reason switch
    {
        MissReason.None => "not_stored", // for want of room, or as another one writes it
        MissReason.Absent => "absent",
        MissReason.Corrupt => "corrupt",
        MissReason.Deadline => "deadline",
        MissReason.Unavailable => "unavailable",
        MissReason.Refused => "refused",
        _ => "other",
    };

    // 10 µs to 20 s, three for each power of ten: a match in shared memory and a store of many blocks.
    private static IEnumerable<double> Boundaries()
    {
        for (var power = 1e-5; power < 15; power *= 10)
        {
            yield return power;
            yield return 2 * power;
            yield return 5 * power;
        }
    }
}
