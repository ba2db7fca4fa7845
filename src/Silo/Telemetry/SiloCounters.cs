using System.Diagnostics.Metrics;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Telemetry;

/// <summary>
/// What the block server counts. Hot paths add to plain fields; the meter <see cref="MeterName"/> and the stat message read them.
/// </summary>
internal sealed class SiloCounters : IDisposable
{
    /// <summary>Name of the meter.</summary>
    public const string MeterName = "KvCache";

    private readonly Meter _meter = new(MeterName);
    private readonly Histogram<double> _duration;
    private readonly long[] _puts = new long[Enum.GetValues<PutOutcome>().Length];
    private long _hits, _absent, _corrupt, _matchedBlocks, _matchedOf, _receivedBytes, _sentBytes, _rejected, _displaced, _badFrames,
        _watchFailed;
    private int _connections;

    /// <summary>Registers the instruments.</summary>
    public SiloCounters(BlockStore store)
    {
        _duration = _meter.CreateHistogram(
            "kvcache.request.duration", "s", "Time from a request's frame to its last response byte, by type.",
            advice: new InstrumentAdvice<double>
            {
                HistogramBucketBoundaries = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
            });
        _meter.CreateObservableCounter("kvcache.block.hits", () => Hits, "{block}", "Blocks served by get.");
        _meter.CreateObservableCounter("kvcache.block.misses", Misses, "{block}", "Blocks asked for and not served, by reason.");
        _meter.CreateObservableCounter(
            "kvcache.match.blocks", Matches, "{block}", "Blocks looked up by match, by whether they were found.");
        _meter.CreateObservableCounter("kvcache.put.blocks", Puts, "{block}", "Blocks of puts, by outcome.");
        _meter.CreateObservableCounter(
            "kvcache.io.received", () => Volatile.Read(ref _receivedBytes), "By", "Bytes received by the data plane.");
        _meter.CreateObservableCounter("kvcache.io.sent", () => Volatile.Read(ref _sentBytes), "By", "Bytes sent by the data plane.");
        _meter.CreateObservableCounter(
            "kvcache.connections.rejected", () =>
            Volatile.Read(ref _rejected), "{connection}", "Connections refused: limits, versions, authentication.");
        _meter.CreateObservableCounter(
            "kvcache.connections.watch.failed", () => Volatile.Read(ref _watchFailed), "{failure}",
            "Failures of the watch over connections, which goes on.");
        _meter.CreateObservableCounter(
            "kvcache.connections.displaced", () =>
            Volatile.Read(ref _displaced), "{connection}",
            "Connections without a proof that were ended because others needed their places.");
        _meter.CreateObservableCounter(
            "kvcache.frames.bad", () => Volatile.Read(ref _badFrames), "{frame}", "Frames that ended their connection.");
        _meter.CreateObservableUpDownCounter("kvcache.connections", () => Connections, "{connection}", "Open connections.");
        _meter.CreateObservableUpDownCounter("kvcache.store.blocks", () => store.GetStatistics().Blocks, "{block}", "Visible blocks.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.store.bytes", () => store.GetStatistics().BlockBytes, "By", "Bytes of visible blocks.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.store.leased", () => store.GetStatistics().LeasedBlocks, "{block}", "Blocks under a lease.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.store.pinned", () => store.GetStatistics().PinnedBytes, "By", "Bytes of pinned blocks.");
        _meter.CreateObservableUpDownCounter("kvcache.arena.used", () => store.Arena.UsedBytes, "By", "Allocated arena memory.");
        _meter.CreateObservableUpDownCounter("kvcache.arena.committed", () => store.Arena.CommittedBytes, "By", "Touched arena memory.");
        _meter.CreateObservableUpDownCounter("kvcache.arena.capacity", () => store.Arena.Capacity, "By", "Configured arena memory.");
        _meter.CreateObservableGauge(
            "kvcache.arena.fragmentation", () => store.Arena.Fragmentation, "1", "Share of free memory outside the largest free run.");
        _meter.CreateObservableCounter(
            "kvcache.store.removed", () => Removals(store.GetStatistics()), "{block}", "Blocks that left the store, by reason.");
        _meter.CreateObservableCounter(
            "kvcache.store.refused", () => store.GetStatistics().Refused, "{block}", "Writes refused for want of memory.");
        _ = new EvictionMetrics(_meter, store);
        _meter.CreateObservableCounter(
            "kvcache.store.hints", () => store.GetStatistics().Hints, "{hint}", "Hints about chains after they were used.");
    }

    /// <summary>Blocks served by get.</summary>
    public long Hits => Volatile.Read(ref _hits);

    /// <summary>Blocks asked for by get that were not stored.</summary>
    public long Absent => Volatile.Read(ref _absent);

    /// <summary>Blocks dropped because their bytes no longer matched their checksums.</summary>
    public long Corrupt => Volatile.Read(ref _corrupt);

    /// <summary>Open connections.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>Bytes received by the data plane.</summary>
    public long ReceivedBytes => Volatile.Read(ref _receivedBytes);

    /// <summary>Bytes sent by the data plane.</summary>
    public long SentBytes => Volatile.Read(ref _sentBytes);

    /// <summary>Blocks of puts with this outcome.</summary>
    public long PutsWith(PutOutcome outcome) => Volatile.Read(ref _puts[(int)outcome]);

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    internal void Hit(TenantAccount account, int tokens)
    {
        Interlocked.Increment(ref _hits);
        account.Read(tokens);
    }

    internal void MissAbsent(TenantAccount account)
    {
        Interlocked.Increment(ref _absent);
        account.Missed();
    }

    internal void MissCorrupt() => Interlocked.Increment(ref _corrupt);

    internal void Matched(int found, int of)
    {
        Interlocked.Add(ref _matchedBlocks, found);
        Interlocked.Add(ref _matchedOf, of);
    }

    internal void Put(PutOutcome outcome) => Interlocked.Increment(ref _puts[(int)outcome]);

    internal void Moved(long received, long sent)
    {
        Interlocked.Add(ref _receivedBytes, received);
        Interlocked.Add(ref _sentBytes, sent);
    }

    internal int Connected() => Interlocked.Increment(ref _connections);

    internal void Disconnected() => Interlocked.Decrement(ref _connections);

    internal void Rejected() => Interlocked.Increment(ref _rejected);

    internal void Displaced() => Interlocked.Increment(ref _displaced);

    internal void WatchFailed() => Interlocked.Increment(ref _watchFailed);

    internal void BadFrame() => Interlocked.Increment(ref _badFrames);

    internal void Took(FrameType type, TimeSpan time) => Took(NameOf(type), time);

    internal void Took(string type, TimeSpan time) => _duration.Record(time.TotalSeconds, new KeyValuePair<string, object?>("type", type));

    // Constant strings: an enum's ToString would allocate on every request.
    private static string NameOf(FrameType type) => type switch
    {
        FrameType.Match => "match",
        FrameType.Locate => "locate",
        FrameType.Get => "get",
        FrameType.GetLayers => "get_layers",
        FrameType.Put => "put",
        FrameType.PutValue => "put_value",
        FrameType.GetValue => "get_value",
        FrameType.Pin => "pin",
        FrameType.Delete => "delete",
        FrameType.Release => "release",
        FrameType.Stat => "stat",
        FrameType.Verify => "verify",
        _ => "other",
    };

    private static KeyValuePair<string, object?> Reason(string value) => new("reason", value);

    private Measurement<long>[] Misses() => [new(Absent, Reason("absent")), new(Corrupt, Reason("corrupt"))];

    private Measurement<long>[] Matches()
    {
        var found = Volatile.Read(ref _matchedBlocks);
        return [new(found, new KeyValuePair<string, object?>("found", "true")),
            new(Volatile.Read(ref _matchedOf) - found, new KeyValuePair<string, object?>("found", "false"))];
    }

    private IEnumerable<Measurement<long>> Puts() =>
        Enum.GetValues<PutOutcome>()
            .Select(outcome => new Measurement<long>(PutsWith(outcome), new KeyValuePair<string, object?>("outcome", outcome.ToString())));

    private static Measurement<long>[] Removals(BlockStoreStatistics store) =>
    [
        new(store.Evicted, Reason("evicted")),
        new(store.Expired, Reason("expired")),
        new(store.Deleted, Reason("deleted")),
        new(store.Corrupt, Reason("corrupt")),
    ];
}
