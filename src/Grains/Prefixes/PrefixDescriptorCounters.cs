using System.Diagnostics.Metrics;

namespace KvCache.Grains.Prefixes;

/// <summary>What became of descriptors that were to be kept; the meter <c>KvCache</c> reads it.</summary>
internal sealed class PrefixDescriptorCounters : IDisposable
{
    private readonly Meter _meter = new("KvCache");
    private long _written, _lost;

    /// <summary>Registers the instruments.</summary>
    public PrefixDescriptorCounters()
    {
        _meter.CreateObservableCounter(
            "kvcache.descriptors.written", () => Written, "{descriptor}", "Descriptors of prefixes that grain storage took.");
        _meter.CreateObservableCounter(
            "kvcache.descriptors.lost", () =>
            Lost, "{descriptor}", "Descriptors of prefixes that grain storage did not take, give or clear in time.");
    }

    /// <summary>Descriptors that the storage took.</summary>
    public long Written => Volatile.Read(ref _written);

    /// <summary>Reads, writes and clears that the storage did not do in time.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    internal void Wrote() => Interlocked.Increment(ref _written);

    internal void Lose() => Interlocked.Increment(ref _lost);
}
