namespace KvCache.Client;

/// <summary>Names of what the caches of a process tell OpenTelemetry, or whoever else listens. docs/client.md lists spans and
/// instruments.</summary>
public static class KvCacheTelemetry
{
    /// <summary>Name of the <see cref="System.Diagnostics.ActivitySource"/>, for <c>AddSource</c>.</summary>
    public const string ActivitySourceName = "KvCache.Client";

    /// <summary>Name of the <see cref="System.Diagnostics.Metrics.Meter"/>, for <c>AddMeter</c>.</summary>
    public const string MeterName = "KvCache.Client";
}
