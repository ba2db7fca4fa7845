using System.Diagnostics;
using KvCache.Checksums;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Promoting;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>A thread that reads blocks from the disk straight into the arena, and publishes what proves right.</summary>
internal sealed partial class DiskReader(
    PromotionTable promotions, BlockStore store, DiskIndex index, DiskHealth health, LiveFile<PayloadKeys>? keys, DiskCounters counters,
    TimeSpan limit, TimeProvider time, Action<long> waitForRoom, Action<DiskBlock> damaged, ILogger logger)
{
    private static readonly TimeSpan LogPause = TimeSpan.FromMinutes(1);

    private readonly LayoutMemo _layouts = new();
    private long _readingSince, _logged;

    /// <summary>Whether it has been in one read for longer than a time.</summary>
    public bool IsStuck(TimeSpan longer) =>
        Volatile.Read(ref _readingSince) is var since and not 0 && Stopwatch.GetElapsedTime(since) > longer;

    /// <summary>Runs until the table was stopped and is empty.</summary>
    public void Run()
    {
        using var head = new PageBuffer();
        using var body = new PageBuffer();
        while (promotions.TryTake(out var promotion))
        {
            var outcome = PromoteOutcome.Unavailable;
            try
            {
                outcome = Promote(promotion, head, body);
            }
            catch (ObjectDisposedException)
            {
                outcome = PromoteOutcome.Absent; // its segment went meanwhile
            }
            catch (Exception e)
            {
                LogFailed(e, promotion.Key.Namespace, promotion.Key.Hash.ToShortString());
            }

            counters.Promote(outcome);
            promotions.Finish(promotion, outcome);
        }
    }

    private PromoteOutcome Promote(Promotion promotion, PageBuffer head, PageBuffer body)
    {
        if (promotion.Deadline.Passed)
            return PromoteOutcome.Deadline;
        if (store.Contains(promotion.Key))
            return PromoteOutcome.AlreadyStored;
        if (index.Find(promotion.Key) is not { } block)
            return PromoteOutcome.Absent;
        if (promotions.IsUnexpected(promotion, block.Layout))
            return PromoteOutcome.OtherLayout;
        if (!index.WaitUntilWritten(block, promotion.Deadline, out var segment, out var page))
            return block.IsGone ? PromoteOutcome.Deleted : PromoteOutcome.Deadline;
        waitForRoom(Arena.RoundUp(block.Layout.BlockBytes));
        var began = Stopwatch.GetTimestamp();
        using var write = store.TryReserve(block.Key, block.Layout, block.Lineage, block.Generation);
        if (write is null)
            return store.Contains(block.Key) ? PromoteOutcome.AlreadyStored : PromoteOutcome.NoMemory;
        write.Entry.WasReadAhead = promotion.IsAhead;
        PromoteOutcome outcome;
        Volatile.Write(ref _readingSince, began);
        try
        {
            outcome = Read(block, segment, page, write, head, body);
        }
        catch (IOException e)
        {
            // What cannot be read is not tried for ever.
            health.Failed(e.Message);
            damaged(block);
            return PromoteOutcome.Unavailable;
        }
        finally
        {
            Volatile.Write(ref _readingSince, 0);
        }

        var took = Stopwatch.GetElapsedTime(began);
        if (took > limit)
            health.Failed($"a read of {block.Layout.BlockBytes:N0} bytes took {took.TotalSeconds:0.0} s");
        else
            health.Succeeded();

        // A disk may have stood still for longer than anybody remembers a deletion.
        if (outcome == PromoteOutcome.Promoted)
        {
            outcome = Volatile.Read(ref block.IsGone)
                ? PromoteOutcome.Deleted
                : promotions.Publish(promotion, write, block.Durability, LeftOf(block));
        }

        if (outcome == PromoteOutcome.Promoted)
        {
            counters.Read(block.Layout.BlockBytes, took, AgeOf(block));
            if (promotion.IsAhead)
                counters.ReadAhead();
        }
        else if (IsDamage(outcome))
        {
            if (_logged == 0 || Stopwatch.GetElapsedTime(_logged) > LogPause)
            {
                _logged = Stopwatch.GetTimestamp();
                LogDamaged(block.Key.Namespace, block.Key.Hash.ToShortString(), outcome);
            }

            damaged(block);
        }

        return outcome;
    }

    private PromoteOutcome Read(DiskBlock block, DiskSegment segment, int page, BlockWrite write, PageBuffer head, PageBuffer body)
    {
        var isSealed = segment.IsSealedByKey;
        var headBytes = (long)block.HeadPages * DiskSegment.PageBytes;
        var bodyBytes = DiskSegment.RoundUp(block.BodyBytes(isSealed));
        var headSpan = head.Take(headBytes)[..PayloadFormat.HeadBytes(block.Layout)];
        if (isSealed)
            body.Take(bodyBytes);
        var bytes = store.Arena.Span(write.Entry.Offset, (int)DiskSegment.RoundUp(block.Layout.BlockBytes));
        segment.File.Read(
            [head.Piece(0, headBytes), isSealed ? body.Piece(0, bodyBytes) : UnmanagedPiece.Of(bytes)], (long)page * DiskSegment.PageBytes);
        var outcome = PayloadFormat.ReadLength(headSpan, out var length);
        if (outcome != PromoteOutcome.Promoted)
            return outcome;
        if (length != headSpan.Length)
            return PromoteOutcome.Malformed;
        outcome = PayloadFormat.Read(headSpan, _layouts, isSealed ? keys?.Fresh() : null, out var header, out var key);
        if (outcome != PromoteOutcome.Promoted)
            return outcome;
        if (header.Key != block.Key || header.Generation != block.Generation || !header.Layout.Equals(block.Layout))
            return PromoteOutcome.Foreign;
        if (isSealed && (key is null || !Open(headSpan, key, body.Take(bodyBytes), write.Bytes)))
            return PromoteOutcome.Forged;
        BlockChecksum.ComputeLayers(write.Bytes, block.Layout, write.Checksums);
        return write.Checksums.SequenceEqual(PayloadFormat.Checksums(headSpan)) ? PromoteOutcome.Promoted : PromoteOutcome.Corrupt;
    }

    private static bool Open(ReadOnlySpan<byte> head, PayloadKey key, Span<byte> body, Span<byte> plain)
    {
        using var seal = PayloadFormat.SealOf(head, key);
        for (var segment = 0; !plain.IsEmpty; segment++)
        {
            var part = body[..Math.Min(plain.Length, PayloadSeal.SegmentBytes)];
            if (!seal.Open(segment, part, body.Slice(part.Length, PayloadKey.MacBytes)))
                return false;
            part.CopyTo(plain);
            plain = plain[part.Length..];
            body = body[(part.Length + PayloadKey.MacBytes)..];
        }

        return true;
    }

    private TimeSpan? LeftOf(DiskBlock block) => block.ExpiresAt == 0
        ? null
        : TimeSpan.FromMilliseconds(Math.Min(block.ExpiresAt - time.GetUtcNow().ToUnixTimeMilliseconds(), RedisTier.LongestLife));

    private TimeSpan AgeOf(DiskBlock block) => TimeSpan.FromMilliseconds(Math.Max(
        0, time.GetUtcNow().ToUnixTimeMilliseconds() - (long)(block.Generation >> GenerationClock.Shift)));

    private static bool IsDamage(PromoteOutcome outcome) =>
        outcome is PromoteOutcome.Malformed or PromoteOutcome.Corrupt or PromoteOutcome.Forged or PromoteOutcome.Foreign
            or PromoteOutcome.OtherVersion or PromoteOutcome.OtherKey;

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Block {Namespace}/{Hash} on the disk is damaged ({Reason}) and is dropped; others in the next minute too")]
    private partial void LogDamaged(NamespaceId @namespace, string hash, PromoteOutcome reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Reading block {Namespace}/{Hash} from the disk failed")]
    private partial void LogFailed(Exception exception, NamespaceId @namespace, string hash);
}
