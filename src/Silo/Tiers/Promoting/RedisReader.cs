using System.Diagnostics;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Promoting;

/// <summary>A thread with a connection that reads blocks from Redis straight into the arena, and publishes what proves right.</summary>
internal sealed partial class RedisReader(
    PromotionTable promotions, BlockStore store, RedisLane lane, RedisHealth health, RedisKeySpace names, LiveFile<PayloadKeys>? keys,
        RedisTierCounters counters, TimeProvider time, ILogger logger)
{
    private readonly LayoutMemo _layouts = new();
    private byte[] _head = new byte[512];

    // The promotion after the one that runs, and the connection that its payload has been asked for on.
    private Promotion? _next;
    private RedisConnection? _askedOn;
    private long _askedAt;

    /// <summary>Runs until the table was stopped and is empty.</summary>
    public void Run()
    {
        while (_next is not null || promotions.TryTake(out _next))
        {
            var promotion = _next;
            _next = null;
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
        // What was asked for has to be read, or else the connection is out of step.
        var asked = _askedOn;
        _askedOn = null;
        if (promotion.Deadline.Passed || health.IsOpen)
        {
            asked?.Abort();
            return health.IsOpen ? PromoteOutcome.Unavailable : PromoteOutcome.Deadline;
        }

        var outcome = lane.Run(promotion.Deadline, connection => Read(connection, promotion, isAsked: ReferenceEquals(connection, asked)));
        if (IsDamage(outcome))
            Discard(promotion, outcome);
        return outcome;
    }

    private PromoteOutcome Read(RedisConnection connection, Promotion promotion, bool isAsked)
    {
        if (!isAsked && store.Contains(promotion.Key))
            return PromoteOutcome.AlreadyStored;
        var began = Stopwatch.GetTimestamp();
        Span<byte> key = stackalloc byte[names.KeyBytes];
        names.Write(promotion.Key, key);
        var askedAt = isAsked ? _askedAt : time.GetTimestamp();
        var length = isAsked
            ? connection.GetAsked(out var life, promotion.Deadline)
            : connection.Get(key, out life, promotion.Deadline);
        if (length < 0)
            return PromoteOutcome.Absent;
        var outcome = ReadHead(connection, length, promotion, out var header, out var sealingKey);
        if (outcome == PromoteOutcome.Promoted && Left() <= TimeSpan.Zero)
            outcome = PromoteOutcome.Expired;
        if (outcome != PromoteOutcome.Promoted)
        {
            connection.EndValue();
            return outcome;
        }

        using var write = store.TryReserve(promotion.Key, header.Layout, header.Lineage, header.Generation);
        if (write is null)
        {
            connection.EndValue();
            return PromoteOutcome.NoMemory;
        }

        AskAhead(connection);
        using var seal = sealingKey is null ? null : PayloadFormat.SealOf(_head, sealingKey);
        var genuine = true;
        if (seal is null)
            connection.ReadLayers(write.Bytes, header.Layout, write.Checksums);
        else
            genuine = connection.ReadSealed(write.Bytes, header.Layout, write.Checksums, seal);
        connection.EndValue();
        if (!genuine)
            return PromoteOutcome.Forged;
        if (!write.Checksums.SequenceEqual(PayloadFormat.Checksums(_head)))
            return PromoteOutcome.Corrupt;
        outcome = promotions.Publish(promotion, write, new BlockDurability(header.Copies, Persisted: true), Left());
        if (outcome == PromoteOutcome.Promoted)
            counters.Promoted(header.Layout.BlockBytes, Stopwatch.GetElapsedTime(began));
        return outcome;

        TimeSpan? Left() => header.Left(life - time.GetElapsedTime(askedAt), time.GetUtcNow(), sealingKey is not null);
    }

    private void AskAhead(RedisConnection connection)
    {
        _next ??= promotions.TryTakeAhead();
        if (_next is null || store.Contains(_next.Key))
            return;
        Span<byte> key = stackalloc byte[names.KeyBytes];
        names.Write(_next.Key, key);
        _askedAt = time.GetTimestamp();
        connection.AskAhead(key);
        _askedOn = connection;
    }

    private PromoteOutcome ReadHead(
        RedisConnection connection, long length, Promotion promotion, out PayloadHeader header, out PayloadKey? sealingKey)
    {
        header = default;
        sealingKey = null;
        if (length < PayloadFormat.FixedBytes)
            return PromoteOutcome.Truncated;
        connection.ReadValue(_head.AsSpan(0, PayloadFormat.FixedBytes));
        var outcome = PayloadFormat.ReadLength(_head, out var headBytes);
        if (outcome != PromoteOutcome.Promoted)
            return outcome;
        if (length < headBytes)
            return PromoteOutcome.Truncated;
        if (_head.Length < headBytes)
            Array.Resize(ref _head, headBytes);
        connection.ReadValue(_head.AsSpan(PayloadFormat.FixedBytes, headBytes - PayloadFormat.FixedBytes));
        outcome = PayloadFormat.Read(_head.AsSpan(0, headBytes), _layouts, keys?.Fresh(), out header, out sealingKey);
        if (outcome != PromoteOutcome.Promoted)
            return outcome;
        if (header.Key != promotion.Key)
            return PromoteOutcome.Foreign;
        if (promotions.IsUnexpected(promotion, header.Layout))
            return PromoteOutcome.OtherLayout;
        if (length != headBytes + (sealingKey is null ? header.Layout.BlockBytes : PayloadSeal.SealedBytes(header.Layout.BlockBytes)))
            return PromoteOutcome.Truncated;
        return PromoteOutcome.Promoted;
    }

    private static bool IsDamage(PromoteOutcome outcome) =>
        outcome is PromoteOutcome.Malformed or PromoteOutcome.Corrupt or PromoteOutcome.Forged or PromoteOutcome.Truncated
            or PromoteOutcome.Foreign or PromoteOutcome.OtherLayout;

    private void Discard(Promotion promotion, PromoteOutcome why)
    {
        LogDamaged(promotion.Key.Namespace, promotion.Key.Hash.ToShortString(), why);
        _askedOn?.Abort(); // the answer to what follows would come behind another payload
        try
        {
            lane.Run(promotion.Deadline, connection => connection.Unlink([promotion.Key], names, promotion.Deadline));
        }
        catch (RedisException)
        {
            // The next reader finds the damage again.
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "The payload of block {Namespace}/{Hash} in Redis is damaged ({Reason}) and is deleted")]
    private partial void LogDamaged(NamespaceId @namespace, string hash, PromoteOutcome reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Reading block {Namespace}/{Hash} from Redis failed")]
    private partial void LogFailed(Exception exception, NamespaceId @namespace, string hash);
}
