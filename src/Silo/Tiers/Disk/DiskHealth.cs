using KvCache.Engine.Resilience;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>Whether the disk works. One that failed several times in a row is left alone, and tried again after a while.</summary>
internal sealed partial class DiskHealth(DiskOptions options, DiskCounters counters, TimeProvider time, ILogger logger)
{
    // A disk that fails and works in turns is not worth more lines.
    private static readonly TimeSpan LogPause = TimeSpan.FromMinutes(1);

    private readonly CircuitBreaker _breaker = new(options.BreakerFailures, options.BreakerDelay, time);
    private readonly Lock _logging = new();
    private long _loggedAt;
    private bool _told;
    private volatile string? _lastError;

    /// <summary>Nothing goes to the disk but a try from time to time.</summary>
    public bool IsOpen => _breaker.IsOpen;

    /// <summary>The latest failure, whenever that was; null for none.</summary>
    public string? LastError => _lastError;

    /// <summary>Whether it is time for a try, which must tell how it went.</summary>
    public bool MayTry() => _breaker.IsOpen && _breaker.TryEnter();

    /// <summary>A call of the disk has done what it should.</summary>
    public void Succeeded()
    {
        if (counters.BreakerOpen)
        {
            counters.BreakerOpen = false;
            lock (_logging)
            {
                if (_told)
                    LogWorks(options.Path);
                _told = false;
            }
        }

        _breaker.Succeeded();
    }

    /// <summary>A call of the disk has failed, or took too long.</summary>
    public void Failed(string reason)
    {
        _lastError = reason;
        counters.Failed();
        if (!_breaker.Failed())
            return;
        counters.BreakerOpen = true;
        lock (_logging)
        {
            if (_loggedAt != 0 && time.GetElapsedTime(_loggedAt) < LogPause)
                return;
            _loggedAt = time.GetTimestamp();
            _told = true;
            LogLeftAlone(options.Path, reason);
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "The disk {Path} failed several times in a row and is left alone for a while: {Reason}")]
    private partial void LogLeftAlone(string path, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "The disk {Path} works again")]
    private partial void LogWorks(string path);
}
