using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using KvCache.Silo.Telemetry;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Supervision;

/// <summary>
/// Keeps loops running that must run for ever: one that failed is begun again after a pause, is counted, and readiness names it until it
/// has run for a while. Neither a silent end nor the end of the silo is right for them.
/// </summary>
internal sealed partial class LoopHealth : IDisposable
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(10);

    // A loop that has run for so long since its last failure is well again.
    private static readonly TimeSpan Recovered = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<string, Failure> _failed = new(StringComparer.Ordinal);
    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly TimeProvider _time;
    private readonly ILogger<LoopHealth> _logger;
    private long _restarts;

    public LoopHealth(TimeProvider time, ILogger<LoopHealth> logger)
    {
        _time = time;
        _logger = logger;
        _meter.CreateObservableCounter(
            "kvcache.loops.restarts", () => Restarts, "{restart}", "Loops of the silo that failed and were begun again.");
    }

    /// <summary>Loops that were begun again so far.</summary>
    public long Restarts => Volatile.Read(ref _restarts);

    /// <summary>Loops that failed lately, each in a sentence.</summary>
    public IReadOnlyList<string> Problems =>
        [.. _failed.Where(failure => _time.GetElapsedTime(failure.Value.At) < Recovered)
            .Select(failure => $"{failure.Key} failed and was begun again: {failure.Value.Reason}")];

    /// <summary>Runs a loop until it returns or the silo stops.</summary>
    public async Task KeepRunningAsync(string name, Func<CancellationToken, Task> run, CancellationToken stoppingToken)
    {
        for (var pause = FirstPause; !stoppingToken.IsCancellationRequested;)
        {
            var began = _time.GetTimestamp();
            try
            {
                await run(stoppingToken).ConfigureAwait(false);
                return;
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                Failed(name, e);
            }

            pause = _time.GetElapsedTime(began) > Recovered ? FirstPause : pause;
            await Task.Delay(pause, _time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    /// <summary>A loop failed, and goes on.</summary>
    public void Failed(string name, Exception error)
    {
        Interlocked.Increment(ref _restarts);
        var known = _failed.TryGetValue(name, out var last) && last.Reason == error.Message
            && _time.GetElapsedTime(last.At) < Recovered;
        _failed[name] = new Failure(error.Message, _time.GetTimestamp());
        if (!known)
            LogFailed(error, name);
    }

    public void Dispose() => _meter.Dispose();

    private readonly record struct Failure(string Reason, long At);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Loop} failed and is begun again")]
    private partial void LogFailed(Exception exception, string loop);
}

/// <summary>Hosts a loop.</summary>
internal sealed class LoopHost(ILoop loop, LoopHealth health) : BackgroundService
{
    // Not on the thread that starts the host: what a loop does before its first wait is its own affair.
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.Run(() => health.KeepRunningAsync(loop.GetType().Name, loop.RunAsync, stoppingToken), CancellationToken.None);
}
