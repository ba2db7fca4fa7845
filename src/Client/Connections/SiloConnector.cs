using System.Diagnostics;
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
    private readonly CircuitBreaker _breaker;
    private long _loadedBlocks, _storedBlocks;
    private long _lastUse = Stopwatch.GetTimestamp();

    public SiloConnector(SiloEndpoint endpoint, KvCacheClientOptions options, ILogger logger)
    {
        Endpoint = endpoint.Text;
        _breaker = new CircuitBreaker(options.BreakerFailures, options.BreakerDelay, TimeProvider.System);
        Control = new ConnectionLanes(endpoint, options, 1, _breaker, logger);
        Data = new ConnectionLanes(endpoint, options, options.DataConnections, _breaker, logger);
    }

    public string Endpoint { get; }

    public ConnectionLanes Control { get; }

    public ConnectionLanes Data { get; }

    /// <summary>Time since anybody has asked for this connector; zero while a call waits or runs.</summary>
    public TimeSpan IdleTime => Control.IsIdle && Data.IsIdle ? Stopwatch.GetElapsedTime(Volatile.Read(ref _lastUse)) : TimeSpan.Zero;

    public void Touch() => Volatile.Write(ref _lastUse, Stopwatch.GetTimestamp());

    public void Loaded(int blocks) => Interlocked.Add(ref _loadedBlocks, blocks);

    public void Stored(int blocks) => Interlocked.Add(ref _storedBlocks, blocks);

    public SiloUse Summarize() => new(
        Endpoint,
        Volatile.Read(ref _loadedBlocks),
        Volatile.Read(ref _storedBlocks),
        Control.MovedBytes + Data.MovedBytes,
        Control.Failures + Data.Failures,
        _breaker.IsOpen);

    public async ValueTask DisposeAsync()
    {
        await Control.DisposeAsync().ConfigureAwait(false);
        await Data.DisposeAsync().ConfigureAwait(false);
    }
}
