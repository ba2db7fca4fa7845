using KvCache.Engine.Resilience;
using KvCache.Silo.Tiers.Persisting;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>Whether Redis works, as all connections of the tier see it together.</summary>
internal sealed partial class RedisHealth(RedisEndpoint endpoint, RedisTierOptions options, RedisTierCounters counters, ILogger logger)
{
    private const int MostAbandoned = 1024;

    // Connecting costs little, and a new master is to be found soon.
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(4);

    private readonly CircuitBreaker _breaker = new(options.BreakerFailures, options.BreakerDelay, TimeProvider.System, LongestDelay);
    private readonly Queue<AbandonedWrite> _abandoned = [];
    private volatile string? _lastError;
    private volatile bool _answers = true;
    private int _server;

    /// <summary>Redis failed several times in a row: nothing but probes goes to it.</summary>
    public bool IsOpen => _breaker.IsOpen;

    /// <summary>Whether the last call, or probe, was answered; Redis is probed every few seconds when nothing else is asked.</summary>
    public bool IsAvailable => _answers && !IsOpen;

    /// <summary>Changes when the server turns out not to be the one that is wanted: connections of before are then given up.</summary>
    public int Server => Volatile.Read(ref _server);

    /// <summary>Called when the breaker opens: somebody has to probe.</summary>
    public Action? Opened { get; set; }

    /// <summary>The latest failure, whenever that was.</summary>
    public string? LastError => _lastError;

    /// <summary>Whether an open breaker may be probed now; the probe must report how it went.</summary>
    public bool MayProbe() => _breaker.TryEnter();

    public void Succeeded()
    {
        if (counters.BreakerOpen)
            LogClosed(endpoint.Text);
        counters.BreakerOpen = false;
        _answers = true;
        _breaker.Succeeded();
    }

    public void Failed(RedisException error)
    {
        _lastError = error.Message;
        _answers = false;
        if (error.IsOtherServer)
            Interlocked.Increment(ref _server);
        counters.Failed(error.Failure);
        LogFailed(endpoint.Text, error.Message);
        if (!_breaker.Failed())
            return;
        counters.BreakerOpen = true;
        LogOpened(endpoint.Text, error.Message);
        Opened?.Invoke();
    }

    /// <summary>
    /// Remembers a connection that was given up within a SET: a Redis that was frozen finds that SET in its buffers later, and would
    /// execute it after a delete that came in between.
    /// </summary>
    public void Abandoned(AbandonedWrite write)
    {
        lock (_abandoned)
        {
            if (_abandoned.Count == MostAbandoned)
                _abandoned.Dequeue();
            _abandoned.Enqueue(write);
        }
    }

    /// <summary>Makes sure that no SET of a given-up connection is executed any more.</summary>
    /// <exception cref="RedisException">Redis did not answer.</exception>
    public void KillAbandoned(RedisConnection connection, Deadline deadline)
    {
        while (true)
        {
            AbandonedWrite write;
            lock (_abandoned)
            {
                if (!_abandoned.TryPeek(out write))
                    return;
            }

            try
            {
                connection.Kill(write, deadline);
            }
            catch (RedisException e) when (e.Failure == RedisFailure.Refused && e.Code is "NOPERM" or "ERR")
            {
                // Forbidden or unknown there: the delete that follows is then as good as it gets.
            }

            lock (_abandoned)
            {
                if (_abandoned.TryPeek(out var first) && first == write)
                    _abandoned.Dequeue();
            }
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "Redis at {Endpoint} failed several times in a row and is left alone for a while: {Reason}")]
    private partial void LogOpened(string endpoint, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Redis at {Endpoint} works again")]
    private partial void LogClosed(string endpoint);

    [LoggerMessage(Level = LogLevel.Debug, Message = "A call to Redis at {Endpoint} failed: {Reason}")]
    private partial void LogFailed(string endpoint, string reason);
}
