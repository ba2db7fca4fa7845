using System.Diagnostics;
using KvCache.Engine.Storage;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Hosting;

/// <summary>Touches the arena's memory in the background, on a thread of its own, while the silo already serves with what is there; then
/// moves it into huge pages.</summary>
internal sealed partial class ArenaCommitter(BlockStore store, ILogger<ArenaCommitter> logger) : BackgroundService
{
    /// <summary>Memory that must be there before the silo calls itself ready.</summary>
    private const long ReadyBytes = 64L << 20;

    private static readonly TimeSpan ReportInterval = TimeSpan.FromSeconds(10);

    private volatile string? _failure;

    /// <summary>Whether enough memory is usable.</summary>
    public bool Ready => store.Arena.CommittedBytes >= Math.Min(ReadyBytes, store.Arena.Capacity);

    /// <summary>How much of the arena is usable, in percent.</summary>
    public int Percent => (int)(100.0 * store.Arena.CommittedBytes / store.Arena.Capacity);

    /// <summary>Why the arena stayed smaller than configured, or null.</summary>
    public string? Failure => _failure;

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.Factory.StartNew(() => Commit(stoppingToken), stoppingToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private void Commit(CancellationToken stoppingToken)
    {
        var began = Stopwatch.GetTimestamp();
        using var reports = new Timer(
            _ => LogCommitting(new ByteSize(store.Arena.Capacity), Percent), null, ReportInterval, ReportInterval);
        try
        {
            store.Arena.Commit(stoppingToken);
            reports.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            LogCommitted(new ByteSize(store.Arena.Capacity), Stopwatch.GetElapsedTime(began).TotalSeconds);
            store.Arena.UseHugePages(stoppingToken);
            LogInHugePages(Stopwatch.GetElapsedTime(began).TotalSeconds);
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
        catch (IOException e)
        {
            _failure = e.Message;
            LogShort(e, new ByteSize(store.Arena.CommittedBytes), new ByteSize(store.Arena.Capacity));
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The arena of {Size} is {Percent} % ready")]
    private partial void LogCommitting(ByteSize size, int percent);

    [LoggerMessage(Level = LogLevel.Information, Message = "The arena of {Size} is ready after {Seconds:0.0} s")]
    private partial void LogCommitted(ByteSize size, double seconds);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The arena lies in huge pages, where the host has them, after {Seconds:0.0} s")]
    private partial void LogInHugePages(double seconds);

    [LoggerMessage(
        Level = LogLevel.Error, Message = "The host has memory for {Committed} of the arena's {Configured}; the silo goes on with that")]
    private partial void LogShort(Exception exception, ByteSize committed, ByteSize configured);
}
