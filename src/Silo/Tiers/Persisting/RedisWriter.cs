using System.Diagnostics;
using KvCache.Engine.Security;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Persisting;

/// <summary>A thread with a connection that writes blocks of the queue to Redis, straight out of the arena.</summary>
internal sealed partial class RedisWriter(
    PersistQueue queue, RedisLane lane, RedisKeySpace names, LiveFile<PayloadKeys>? keys, RedisTierOptions options,
    RedisTierCounters counters, TimeProvider time, ILogger logger)
{
    private readonly LayoutMemo _layouts = new();
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
                again = !e.WouldBeSaidAgain;
                outcome = e.IsFull ? PersistOutcome.ServerFull : again ? PersistOutcome.Unavailable : PersistOutcome.Refused;
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
        var headBytes = PayloadFormat.HeadBytes(layout);
        var sealing = new PayloadSealing(keys?.Fresh().Writing, options.Encrypt);
        if (headBytes
            + (sealing.Key is null ? layout.BlockBytes : PayloadSeal.SealedBytes(layout.BlockBytes)) > PayloadFormat.MaxValueBytes)
            return PersistOutcome.TooLarge;
        var life = (long)options.DefaultTimeToLive.TotalMilliseconds;
        var expiresAt = item.ExpiresAt;
        if (expiresAt != 0 && (life = expiresAt - time.GetUtcNow().ToUnixTimeMilliseconds()) <= 0)
            return PersistOutcome.Expired;

        if (_head.Length < headBytes)
            _head = new byte[headBytes];
        var header = new PayloadHeader(
            item.Key, item.Lease.Generation, layout, item.Lease.Lineage, (byte)Math.Clamp(item.Lease.Durability.Copies, 0, byte.MaxValue),
            expiresAt);
        PayloadFormat.Write(_head.AsSpan(0, headBytes), header, item.Lease.Checksums, _layouts.Encode(layout), sealing);
        var deadline = Deadline.After(options.WriteTimeout);
        using var seal = sealing.Key is { } sealingKey ? PayloadFormat.SealOf(_head, sealingKey) : null;
        lane.Run(deadline, connection =>
        {
            Span<byte> key = stackalloc byte[names.KeyBytes];
            names.Write(item.Key, key);
            if (seal is null)
                connection.Set(key, _head.AsSpan(0, headBytes), item.Lease.Bytes, life, deadline);
            else
                connection.SetSealed(key, _head.AsSpan(0, headBytes), item.Lease.Bytes, life, seal, deadline);
            return true;
        });
        counters.Persisted(layout.BlockBytes, Stopwatch.GetElapsedTime(began));
        return PersistOutcome.Persisted;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Writing block {Namespace}/{Hash} to Redis failed")]
    private partial void LogFailed(Exception exception, NamespaceId @namespace, string hash);
}
