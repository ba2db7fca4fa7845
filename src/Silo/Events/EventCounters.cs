using System.Diagnostics.Metrics;
using KvCache.Silo.Telemetry;

namespace KvCache.Silo.Events;

/// <summary>What the event sockets count, in the meter <see cref="SiloCounters.MeterName"/>.</summary>
internal sealed class EventCounters : IDisposable
{
    private readonly Meter _meter = new(SiloCounters.MeterName);
    private long _published, _lost, _dropped, _received, _gaps;
    private int _subscribers;

    public EventCounters()
    {
        _meter.CreateObservableCounter(
            "kvcache.events.published", () =>
            Volatile.Read(ref _published), "{event}", "Events of this silo's blocks, whether or not somebody listens.");
        _meter.CreateObservableCounter(
            "kvcache.events.lost", () =>
            Volatile.Read(ref _lost), "{event}",
            "Changes that were too many to be told one by one; subscribers heard that everything is gone, and what is there, instead.");
        _meter.CreateObservableCounter(
            "kvcache.events.dropped", () => Volatile.Read(ref _dropped), "{batch}", "Batches that slow subscribers did not get.");
        _meter.CreateObservableUpDownCounter(
            "kvcache.events.subscribers", () => Volatile.Read(ref _subscribers), "{subscriber}", "Subscribers of this silo's events.");
        _meter.CreateObservableCounter("kvcache.events.received", () => Volatile.Read(ref _received), "{event}", "Events of engines.");
        _meter.CreateObservableCounter(
            "kvcache.events.gaps", () => Volatile.Read(ref _gaps), "{batch}", "Batches of engines that did not arrive.");
    }

    public long Dropped => Volatile.Read(ref _dropped);

    public void Dispose() => _meter.Dispose();

    public void Published(int events) => Interlocked.Add(ref _published, events);

    public void Lost(long events) => Interlocked.Add(ref _lost, events);

    public void DroppedBatch() => Interlocked.Increment(ref _dropped);

    public int Subscribed() => Interlocked.Increment(ref _subscribers);

    public void Unsubscribed() => Interlocked.Decrement(ref _subscribers);

    public void Received(int events) => Interlocked.Add(ref _received, events);

    public void Missed(long batches) => Interlocked.Add(ref _gaps, batches);
}
