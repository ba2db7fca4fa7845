using System.Diagnostics;
using System.Diagnostics.Metrics;
using KvCache.Engine.Index;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Finds again what Redis has kept: once after the start, in the background, while the silo already serves. It matters when every silo was
/// restarted;
/// otherwise the others tell a newcomer what is in Redis.
/// </summary>
internal sealed partial class RedisScan : BackgroundService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly RedisTier? _tier;
    private readonly BlockDirectory _directory;
    private readonly ILogger<RedisScan> _logger;
    private long _found, _expected;
    private volatile bool _done;

    public RedisScan(BlockDirectory directory, IServiceProvider services, ILogger<RedisScan> logger)
    {
        _directory = directory;
        _logger = logger;
        _tier = services.GetService<RedisTier>();
        if (_tier is null)
            return;
        _meter.CreateObservableGauge(
            "kvcache.redis.scan.blocks", () => Found, "{block}", "Blocks that the scan of Redis after the start has found.");
        _meter.CreateObservableGauge(
            "kvcache.redis.scan.done", () => Done ? 1 : 0, "1", "1 when the scan of Redis after the start is over.");
    }

    /// <summary>Whether the scan is over; false where there is no Redis.</summary>
    public bool Done => _done;

    /// <summary>Blocks found by the scan, or by the attempt that is running.</summary>
    public long Found => Volatile.Read(ref _found);

    /// <summary>Keys that the scan has to look at.</summary>
    public long Expected => Volatile.Read(ref _expected);

    public override void Dispose()
    {
        _meter.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_tier is null)
            return;
        var began = Stopwatch.GetTimestamp();
        for (var logged = false; !stoppingToken.IsCancellationRequested; logged = true)
        {
            try
            {
                await _tier.ScanAsync(TakeOver, stoppingToken);
                _done = true;
                LogDone(Found, Stopwatch.GetElapsedTime(began).TotalSeconds);
                return;
            }
            catch (RedisException e)
            {
                if (!logged)
                    LogFailed(e.Message);
                await Task.Delay(Pause, stoppingToken);
            }
        }

        void TakeOver(RedisScanPage page)
        {
            Volatile.Write(ref _found, page.Found);
            Volatile.Write(ref _expected, page.DatabaseKeys);
            foreach (var key in page.Keys)
                _directory.FoundInRedis(key);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Redis has {Blocks} blocks; they were found within {Seconds:0.0} s")]
    private partial void LogDone(long blocks, double seconds);

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "Redis cannot be looked through for its blocks yet; trying again until it can: {Reason}")]
    private partial void LogFailed(string reason);
}
