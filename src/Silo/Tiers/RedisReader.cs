using System.Diagnostics;
using KvCache.Storage;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo;

/// <summary>A thread with a connection that reads blocks from Redis straight into the arena, and publishes what proves right.</summary>
internal sealed partial class RedisReader(
    PromotionTable promotions, BlockStore store, RedisLane lane, RedisHealth health, RedisKeySpace names, RedisTierCounters counters, TimeProvider time, ILogger logger)
{
    private byte[] _head = new byte[512];

    /// <summary>Runs until the table was stopped and is empty.</summary>
    public void Run()
    {
        while (promotions.TryTake(out var promotion))
        {
            var outcome = PromoteOutcome.Unavailable;
            try
            {
                outcome = Promote(promotion);
            }
            catch (RedisException e)
            {
                outcome = e.Failure == RedisFailure.Deadline ? PromoteOutcome.Deadline : PromoteOutcome.Unavailable;
            }
            catch (Exception e)
            {
                LogFailed(e, promotion.Key.Namespace, promotion.Key.Hash.ToShortString());
            }

            counters.Promote(outcome);
            promotions.Finish(promotion, outcome);
        }
    }

    private PromoteOutcome Promote(Promotion promotion)
    {
        if (promotion.Deadline.Passed)
            return PromoteOutcome.Deadline;
        if (health.IsOpen)
            return PromoteOutcome.Unavailable;
        var began = Stopwatch.GetTimestamp();
        var outcome = lane.Run(promotion.Deadline, connection => Read(connection, promotion));
        if (outcome == PromoteOutcome.Promoted)
            counters.Promoted(promotion.Layout.BlockBytes, Stopwatch.GetElapsedTime(began));
        else if (IsDamage(outcome))
            Discard(promotion, outcome);
        return outcome;
    }

    private PromoteOutcome Read(RedisConnection connection, Promotion promotion)
    {
        if (store.Contains(promotion.Key))
            return PromoteOutcome.AlreadyStored;
        Span<byte> key = stackalloc byte[names.KeyBytes];
        names.Write(promotion.Key, key);
        var length = connection.Get(key, promotion.Deadline);
        if (length < 0)
            return PromoteOutcome.Absent;
        var outcome = ReadHead(connection, length, promotion, out var header);
        if (outcome != PromoteOutcome.Promoted)
        {
            connection.EndValue();
            return outcome;
        }

        using var write = store.TryReserve(promotion.Key, promotion.Layout, new BlockLineage(header.Parent, header.Depth, 0, 0), header.Generation);
        if (write is null)
        {
            connection.EndValue();
            return PromoteOutcome.NoMemory;
        }

        connection.ReadLayers(write.Bytes, promotion.Layout, write.Checksums);
        connection.EndValue();
        if (!write.Checksums.SequenceEqual(PayloadFormat.Checksums(_head.AsSpan(0, PayloadFormat.HeadBytes(header.Layers)))))
            return PromoteOutcome.Corrupt;
        return LifeOf(header, out var life) ? promotions.Publish(promotion, write, life) : PromoteOutcome.Expired;
    }

    private PromoteOutcome ReadHead(RedisConnection connection, long length, Promotion promotion, out PayloadHeader header)
    {
        header = default;
        if (length < PayloadFormat.FixedBytes)
            return PromoteOutcome.Truncated;
        connection.ReadValue(_head.AsSpan(0, PayloadFormat.FixedBytes));
        if (!PayloadFormat.TryReadLayers(_head, out var layers))
            return PromoteOutcome.Malformed;
        var headBytes = PayloadFormat.HeadBytes(layers);
        if (length < headBytes)
            return PromoteOutcome.Truncated;
        if (_head.Length < headBytes)
            Array.Resize(ref _head, headBytes);
        connection.ReadValue(_head.AsSpan(PayloadFormat.FixedBytes, headBytes - PayloadFormat.FixedBytes));
        if (!PayloadFormat.TryRead(_head.AsSpan(0, headBytes), out header))
            return PromoteOutcome.Corrupt;
        if (header.Key != promotion.Key)
            return PromoteOutcome.Foreign;
        if (header.Layers != promotion.Layout.Layers || header.BlockBytes != promotion.Layout.BlockBytes)
            return PromoteOutcome.OtherLayout;
        if (length != headBytes + (long)header.BlockBytes)
            return PromoteOutcome.Truncated;
        return LifeOf(header, out _) ? PromoteOutcome.Promoted : PromoteOutcome.Expired;
    }

    private bool LifeOf(in PayloadHeader header, out TimeSpan? life)
    {
        life = null;
        if (header.ExpiresAt == 0)
            return true;
        var left = header.ExpiresAt - time.GetUtcNow().ToUnixTimeMilliseconds();
        life = TimeSpan.FromMilliseconds(Math.Clamp(left, 0, (long)TimeSpan.FromDays(3650).TotalMilliseconds));
        return left > 0;
    }

    private static bool IsDamage(PromoteOutcome outcome) =>
        outcome is PromoteOutcome.Malformed or PromoteOutcome.Corrupt or PromoteOutcome.Truncated or PromoteOutcome.Foreign or PromoteOutcome.OtherLayout;

    private void Discard(Promotion promotion, PromoteOutcome why)
    {
        LogDamaged(promotion.Key.Namespace, promotion.Key.Hash.ToShortString(), why);
        try
        {
            lane.Run(promotion.Deadline, connection => connection.Unlink([promotion.Key], names, promotion.Deadline));
        }
        catch (RedisException)
        {
            // The next reader finds the damage again.
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The payload of block {Namespace}/{Hash} in Redis is damaged ({Reason}) and is deleted")]
    private partial void LogDamaged(NamespaceId @namespace, string hash, PromoteOutcome reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Reading block {Namespace}/{Hash} from Redis failed")]
    private partial void LogFailed(Exception exception, NamespaceId @namespace, string hash);
}
