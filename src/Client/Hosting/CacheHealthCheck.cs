using System.Globalization;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KvCache.Client.Hosting;

/// <summary>Healthy while a cache answers.</summary>
internal sealed class CacheHealthCheck(IKvCache cache) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        var health = await cache.GetHealthAsync(cancellationToken).ConfigureAwait(false);
        return health.IsAvailable
            ? HealthCheckResult.Healthy(
                string.Create(CultureInfo.InvariantCulture, $"It answered within {health.Latency.TotalMilliseconds:0.###} ms."))
            : new HealthCheckResult(context.Registration.FailureStatus, health.Problem);
    }
}
