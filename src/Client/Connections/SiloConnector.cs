using KvCache.Resilience;
using KvCache.Wire;
using Microsoft.Extensions.Logging;

namespace KvCache.Client;

/// <summary>
/// The connections to one silo: one for small requests, so that a match never waits behind bytes, and a few for bulk bytes,
/// under one circuit breaker.
/// </summary>
internal sealed class SiloConnector : IAsyncDisposable
{
    public SiloConnector(SiloEndpoint endpoint, KvCacheClientOptions options, ILogger logger)
    {
        var breaker = new CircuitBreaker(options.BreakerFailures, options.BreakerDelay, TimeProvider.System);
        Control = new ConnectionLanes(endpoint, options, 1, breaker, logger);
        Data = new ConnectionLanes(endpoint, options, options.DataConnections, breaker, logger);
    }

    public ConnectionLanes Control { get; }

    public ConnectionLanes Data { get; }

    public async ValueTask DisposeAsync()
    {
        await Control.DisposeAsync().ConfigureAwait(false);
        await Data.DisposeAsync().ConfigureAwait(false);
    }
}
