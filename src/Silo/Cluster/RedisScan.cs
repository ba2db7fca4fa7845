using System.Diagnostics;
using System.Diagnostics.Metrics;
using KvCache.Engine.Index;
using KvCache.Silo.Supervision;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Looks through Redis, in the background: after the start, to find again what it has kept, and from time to time, to forget what it no
/// longer has. Redis tells nobody when it evicts a payload, or when somebody else deletes one.
/// </summary>
internal sealed partial class RedisScan : ILoop, IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly RedisTier? _tier;
    private readonly TimeSpan _interval;
    private readonly BlockDirectory _directory;
    private readonly ILogger<RedisScan> _logger;
    private long _found, _expected, _swept;
    private volatile bool _done;

    public RedisScan(BlockDirectory directory, IServiceProvider services, IOptions<RedisTierOptions> options, ILogger<RedisScan> logger)
    {
        _interval = options.Value.ScanInterval;
        _directory = directory;
        _logger = logger;
        _tier = services.GetService<RedisTier>();
        if (_tier is null)
            return;
        _meter.CreateObservableGauge(
            "kvcache.redis.scan.blocks", () => Found, "{block}", "Blocks that the latest scan of Redis has found.");
        _meter.CreateObservableGauge(
            "kvcache.redis.scan.done", () => Done ? 1 : 0, "1", "1 when the scan of Redis after the start is over.");
        _meter.CreateObservableCounter(
            "kvcache.redis.scan.swept", () => Volatile.Read(ref _swept), "{block}", "Blocks that scans found gone from Redis.");
    }

    /// <summary>Whether the first scan is over; false where there is no Redis.</summary>
    public bool Done => _done;

    /// <summary>Blocks found by the latest scan, or by the one that is running.</summary>
    public long Found => Volatile.Read(ref _found);

    /// <summary>Keys that the scan has to look at.</summary>
    public long Expected => Volatile.Read(ref _expected);

    public void Dispose() => _meter.Dispose();

    public async Task RunAsync(CancellationToken stoppingToken)
    {
        if (_tier is null)
            return;
        var began = Stopwatch.GetTimestamp();
        for (var told = false; ;)
        {
            try
            {
                _directory.BeginScan();
                await _tier.ScanAsync(TakeOver, stoppingToken);
                Interlocked.Add(ref _swept, _directory.EndScan());
                if (!_done)
                    LogDone(Found, Stopwatch.GetElapsedTime(began).TotalSeconds);
                _done = true;
                told = false;

                // Silos that were started together do not all ask at the same time.
                await Task.Delay(_interval * (0.8 + (0.4 * Random.Shared.NextDouble())), stoppingToken);
            }
            catch (RedisException e)
            {
                if (!told)
                    LogFailed(e.Message);
                told = true;
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
