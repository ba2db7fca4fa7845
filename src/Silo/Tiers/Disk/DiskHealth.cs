using KvCache.Engine.Resilience;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>Whether the disk can be read, or written. One that failed several times in a row is left alone, and tried again after a
/// while.</summary>
/// <remarks>Each way has its own: a full disk is read, and what is read says nothing of whether there is room.</remarks>
internal sealed partial class DiskHealth(DiskWay way, DiskOptions options, DiskCounters counters, TimeProvider time, ILogger logger)
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
        if (_breaker.IsOpen)
        {
            lock (_logging)
            {
                if (_told)
                    LogWorks(options.Path, way);
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
        lock (_logging)
        {
            if (_loggedAt != 0 && time.GetElapsedTime(_loggedAt) < LogPause)
                return;
            _loggedAt = time.GetTimestamp();
            _told = true;
            LogLeftAlone(options.Path, way, reason);
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The disk {Path} failed several times in a row ({Way}) and is left alone for a while: {Reason}")]
    private partial void LogLeftAlone(string path, DiskWay way, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "The disk {Path} works again ({Way})")]
    private partial void LogWorks(string path, DiskWay way);
}

/// <summary>What is done with a disk.</summary>
internal enum DiskWay
{
    Reading,
    Writing,
}
