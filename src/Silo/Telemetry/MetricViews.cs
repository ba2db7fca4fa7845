using System.Diagnostics.Metrics;
using OpenTelemetry.Metrics;

namespace KvCache.Silo.Telemetry;

/// <summary>How the metrics of other parts are shown, so that what reads them finds a text and the usual names and units.</summary>
internal static class MetricViews
{
    private const string OrleansMeter = "Microsoft.Orleans";

    // Prometheus keeps the ending for histograms.
    private const string CountEnding = ".count";

    // In units that Prometheus does not use; the same is told by the meter of the runtime, in bytes and seconds.
    private static readonly string[] Units = ["ms", "MB"];

    public static MetricStreamConfiguration? Of(Instrument instrument)
    {
        if (instrument.Meter.Name == OrleansMeter)
            return instrument.Unit is { } unit && Units.Contains(unit)
                ? MetricStreamConfiguration.Drop
                : new MetricStreamConfiguration { Description = instrument.Description ?? $"Of Orleans: {instrument.Name}." };
        return instrument.Name.EndsWith(CountEnding, StringComparison.Ordinal)
            ? new MetricStreamConfiguration { Name = instrument.Name[..^CountEnding.Length] + ".number" }
            : null;
    }
}
