using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo;

/// <summary>A thread with a connection that writes blocks of the queue to Redis, straight out of the arena.</summary>
internal sealed partial class RedisWriter(PersistQueue queue, RedisLane lane, RedisKeySpace names, RedisTierOptions options, RedisTierCounters counters, TimeProvider time, ILogger logger)
{
    private byte[] _head = new byte[512];

    /// <summary>Runs until the queue is stopped.</summary>
    public void Run()
    {
        while (queue.Take() is { } item)
        {
            var outcome = PersistOutcome.Unavailable;
            var again = false;
            try
            {
                outcome = Write(item);
            }
            catch (RedisException e)
            {
                // LOADING is an outage like any other; what else Redis says, it would say again.
                var away = e.Failure != RedisFailure.Refused || e.Code == "LOADING";
                outcome = e.IsFull ? PersistOutcome.ServerFull : away ? PersistOutcome.Unavailable : PersistOutcome.Refused;
                again = away && !item.Through;
            }
            catch (Exception e)
            {
                LogFailed(e, item.Key.Namespace, item.Key.Hash.ToShortString());
            }

            try
            {
                queue.Finish(item, outcome, again);
            }
            catch (Exception e)
            {
                LogFailed(e, item.Key.Namespace, item.Key.Hash.ToShortString());
            }
        }
    }

    private PersistOutcome Write(PersistItem item)
    {
        var began = Stopwatch.GetTimestamp();
        var layout = item.Lease.Layout;
        var headBytes = PayloadFormat.HeadBytes(layout.Layers);
        if (headBytes + (long)layout.BlockBytes > PayloadFormat.MaxValueBytes)
            return PersistOutcome.TooLarge;
        var life = (long)options.DefaultTimeToLive.TotalMilliseconds;
        if (item.ExpiresAt != 0 && (life = item.ExpiresAt - time.GetUtcNow().ToUnixTimeMilliseconds()) <= 0)
            return PersistOutcome.Expired;

        if (_head.Length < headBytes)
            _head = new byte[headBytes];
        var header = new PayloadHeader(item.Key, item.Lease.Generation, item.ExpiresAt, layout.Layers, layout.BlockBytes, item.Lineage.Parent, item.Lineage.Depth);
        PayloadFormat.Write(_head.AsSpan(0, headBytes), header, item.Lease.Checksums);
        var deadline = Deadline.After(options.WriteTimeout);
        if (item.Through)
            deadline = deadline.OrSooner(item.GiveUp);
        lane.Run(deadline, connection =>
        {
            Span<byte> key = stackalloc byte[names.KeyBytes];
            names.Write(item.Key, key);
            connection.Set(key, _head.AsSpan(0, headBytes), item.Lease.Bytes, life, deadline);
            return true;
        });
        counters.Persisted(layout.BlockBytes, Stopwatch.GetElapsedTime(began));
        return PersistOutcome.Persisted;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Writing block {Namespace}/{Hash} to Redis failed")]
    private partial void LogFailed(Exception exception, NamespaceId @namespace, string hash);
}
