using System.Diagnostics.Metrics;
using KvCache.Engine.Index;
using KvCache.Silo.Telemetry;

namespace KvCache.Silo.Cluster;

/// <summary>What silos do for one another, in the meter <see cref="SiloCounters.MeterName"/>.</summary>
internal sealed class ClusterCounters : IDisposable
{
    private readonly Meter _meter = new(SiloCounters.MeterName);
    private long _fetched, _fetchedBytes, _fetchMissed, _fetchFailed, _fetchDamaged, _copiesMade, _copiesDropped;

    public ClusterCounters(BlockDirectory directory, ClusterMembers members)
    {
        _meter.CreateObservableUpDownCounter(
            "kvcache.index.blocks", () => Enum.GetValues<EntryKind>().Select(kind => new Measurement<int>(
                directory.Index.CountOf(kind), new KeyValuePair<string, object?>("holder", Words(kind)))), "{block}",
            "Blocks that the index knows, by who has them.");
        _meter.CreateObservableUpDownCounter("kvcache.index.bytes", () => directory.Index.MemoryBytes, "By", "Memory of the index.");
        _meter.CreateObservableCounter(
            "kvcache.index.refused", () => directory.Index.Refused, "{block}", "Blocks of other silos that the index had no room for.");
        _meter.CreateObservableCounter(
            "kvcache.index.forgotten", () => directory.Index.Forgotten, "{block}",
            "Blocks of Redis that the index left out, or forgot for later ones.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.index.tombstones", () => directory.Tombstones.Count, "{block}", "Deletions that are remembered.");
        _meter.CreateObservableGauge(
            "kvcache.index.lag", () =>
            members.Peers.Sum(peer => (long)peer.Behind), "{change}", "Changes of other silos that are not known here yet.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.cluster.peers", () => members.Reachable, "{silo}", "Other silos that can be reached.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.cluster.members", () => members.Peers.Length + 1, "{silo}", "Silos that are taken for alive, this one among them.");
        _meter.CreateObservableCounter("kvcache.fetch.blocks", Fetches, "{block}", "Blocks asked of other silos, by outcome.");
        _meter.CreateObservableCounter(
            "kvcache.fetch.bytes", () => Volatile.Read(ref _fetchedBytes), "By", "Bytes of blocks that came from other silos.");
        _meter.CreateObservableCounter(
            "kvcache.copies", Copies, "{block}", "Copies that writers asked for or a loss made necessary, by outcome.");
    }

    public long FetchedBlocks => Volatile.Read(ref _fetched);

    public void Dispose() => _meter.Dispose();

    public void Fetched(long bytes)
    {
        Interlocked.Increment(ref _fetched);
        Interlocked.Add(ref _fetchedBytes, bytes);
    }

    public void FetchMissed() => Interlocked.Increment(ref _fetchMissed);

    public void FetchFailed() => Interlocked.Increment(ref _fetchFailed);

    public void FetchDamaged() => Interlocked.Increment(ref _fetchDamaged);

    public void CopyMade(int count) => Interlocked.Add(ref _copiesMade, count);

    public void CopyDropped(int count = 1) => Interlocked.Add(ref _copiesDropped, count);

    private static string Words(EntryKind kind) => kind switch
    {
        EntryKind.Own => "self",
        EntryKind.Silos => "silos",
        _ => "redis",
    };

    private static KeyValuePair<string, object?> Outcome(string value) => new("outcome", value);

    private Measurement<long>[] Fetches() =>
    [
        new(FetchedBlocks, Outcome("fetched")),
        new(Volatile.Read(ref _fetchMissed), Outcome("absent")),
        new(Volatile.Read(ref _fetchFailed), Outcome("failed")),
        new(Volatile.Read(ref _fetchDamaged), Outcome("corrupt")),
    ];

    private Measurement<long>[] Copies() =>
        [new(Volatile.Read(ref _copiesMade), Outcome("made")), new(Volatile.Read(ref _copiesDropped), Outcome("dropped"))];
}
