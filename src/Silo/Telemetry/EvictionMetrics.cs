using System.Diagnostics.Metrics;
using KvCache.Engine.Storage;
using KvCache.Eviction;

namespace KvCache.Silo.Telemetry;

/// <summary>What the store forgets and what that costs, by tenant, for whoever runs the silo.</summary>
internal sealed class EvictionMetrics
{
    private readonly BlockStore _store;

    /// <summary>Registers the instruments.</summary>
    public EvictionMetrics(Meter meter, BlockStore store)
    {
        _store = store;
        meter.CreateObservableCounter(
            "kvcache.store.wanted", () => Each<long>(seen => [(seen.WantedAgain, "", "")]), "{block}",
            "Blocks that were asked for after they had been evicted, or had got no room.");
        meter.CreateObservableGauge(
            "kvcache.store.reuse.age", () => Each<double>(seen => Quantiles(seen.ReuseAge)), "s", "Time between two uses of a block.");
        meter.CreateObservableGauge(
            "kvcache.store.eviction.age", () => Each<double>(seen => Quantiles(seen.EvictionAge)), "s",
            "Time from the last use of a block until it was evicted.");
        meter.CreateObservableGauge(
            "kvcache.store.memory.hit.ratio",
            () => Each<double>(seen => seen.Memory.Select(estimate => (estimate.HitRatio, "times", $"{estimate.Times:0.#}"))), "1",
            "Share of the blocks asked for that so many times the memory would hit, estimated from a sample.");
    }

    private static IEnumerable<(double Value, string Tag, string Text)> Quantiles(AgeQuantiles? ages) => ages is { } known
        ? [(known.P50, "quantile", "0.5"), (known.P90, "quantile", "0.9"), (known.P99, "quantile", "0.99")]
        : [];

    private IEnumerable<Measurement<T>> Each<T>(Func<EvictionStatistics, IEnumerable<(T Value, string Tag, string Text)>> values)
        where T : struct
    {
        foreach (var account in _store.Accounts.All)
        {
            var tenant = new KeyValuePair<string, object?>("tenant", account.Name);
            foreach (var (value, tag, text) in values(_store.GetStatistics(account).Eviction))
                yield return tag.Length == 0
                    ? new Measurement<T>(value, tenant)
                    : new Measurement<T>(value, tenant, new KeyValuePair<string, object?>(tag, text));
        }
    }
}
