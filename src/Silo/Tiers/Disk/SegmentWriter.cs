using System.Runtime.InteropServices;
using KvCache.Checksums;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Tiers.Payloads;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// Writes blocks one behind the other into the segment that is open, straight out of the arena, many a call. A full segment is completed,
/// and the one that is worth least makes room for the next: what was read of it moves on (a second chance; Corbató, "A paging experiment
/// with the Multics system", 1968).
/// </summary>
/// <remarks>One thread.</remarks>
internal sealed class SegmentWriter(
    DiskFolder folder, DiskIndex index, BlockStore store, DiskOptions options, LiveFile<PayloadKeys>? keys, DiskCounters counters,
    Action<DiskSegment> forget)
    : IDisposable
{
    private const int MostBlocksAtOnce = 256;

    private readonly LayoutMemo _layouts = new();
    private readonly PageBuffer _heads = new(), _body = new(), _table = new();
    private readonly List<UnmanagedPiece> _pieces = [];
    private DiskSegment? _open;

    /// <summary>Whether a segment is open that has blocks.</summary>
    public bool HasUnfinished => _open is { Blocks.Count: > 0 };

    /// <summary>Number of the last segment, those that a start has found included.</summary>
    public long LastNumber { get; set; }

    private bool IsSealedByKey => keys is not null;

    /// <summary>Whether a block fits into a segment at all.</summary>
    public bool Fits(KvLayout layout) =>
        DiskSegment.PagesOf(PayloadFormat.HeadBytes(layout)) + (long)DiskSegment.PagesOf(PayloadSeal.SealedBytes(layout.BlockBytes))
            + TablePages(1, layout) + 1 <= options.SegmentBytes / DiskSegment.PageBytes;

    /// <summary>Writes blocks; those before the one that failed are written.</summary>
    /// <param name="blocks">The blocks, which are in the index.</param>
    /// <param name="leases">Their bytes.</param>
    /// <param name="done">Receives how many are written.</param>
    /// <exception cref="IOException">The disk failed. The open segment is given up, and with it what was written into it.</exception>
    public void Write(IReadOnlyList<DiskBlock> blocks, IReadOnlyList<BlockLease> leases, ref int done)
    {
        try
        {
            while (done < blocks.Count)
            {
                var segment = SegmentFor(blocks[done]);
                var count = Prepare(segment, blocks, leases, done);
                if (count == 0)
                    throw new IOException($"A block of {blocks[done].Layout.BlockBytes:N0} bytes has no room in a segment.");
                segment.File.Write(CollectionsMarshal.AsSpan(_pieces), (long)segment.Pages * DiskSegment.PageBytes);
                for (var i = done; i < done + count; i++)
                {
                    index.Written(blocks[i], segment, segment.Pages);
                    segment.Pages += blocks[i].TotalPages(IsSealedByKey);
                    counters.Wrote((long)blocks[i].TotalPages(IsSealedByKey) * DiskSegment.PageBytes);
                }

                done += count;
            }
        }
        catch
        {
            GiveUp();
            throw;
        }
    }

    /// <summary>Completes the open segment: what is in it survives the silo from now on.</summary>
    /// <exception cref="IOException">The disk failed, and the segment is given up.</exception>
    public void Complete()
    {
        if (_open is not { } segment)
            return;
        try
        {
            var blocks = index.Complete(segment);
            var bytes = SegmentFormat.WriteTable(segment, folder.Manifest.Id, blocks, _table);
            var at = (long)segment.Pages * DiskSegment.PageBytes;
            segment.File.Write([_table.Piece(0, bytes)], at);
            segment.File.Finish(at + bytes);
            index.Resized(segment, at + bytes);
            counters.Wrote(bytes);
            _open = null;
        }
        catch
        {
            GiveUp();
            throw;
        }
    }

    public void Dispose()
    {
        _heads.Dispose();
        _body.Dispose();
        _table.Dispose();
    }

    private DiskSegment SegmentFor(DiskBlock block)
    {
        if (_open is { IsRemoved: true })
            _open = null; // what was deleted from it could not be written down
        if (_open is { } open && !HasRoom(open, block))
            Complete();
        if (_open is not null)
            return _open;
        while (index.Bytes + options.SegmentBytes > options.Size.Bytes && index.Least() is { } least)
            Reclaim(least, into: null, room: 0);
        Begin();

        // Now there is somewhere to move to what is read, and by the time that this one is full there is room for the next.
        if (index.Bytes + options.SegmentBytes > options.Size.Bytes && index.Least() is { } oldest)
            Reclaim(oldest, into: _open, block.TotalPages(IsSealedByKey) + TablePages(1, block.Layout));
        return _open!;
    }

    private void Begin()
    {
        var number = ++LastNumber;
        var path = folder.PathOf(number);
        var segment = new DiskSegment(number, path, DirectFile.Create(path, options.SegmentBytes, folder.IsDirect), IsSealedByKey)
        {
            Bytes = options.SegmentBytes,
        };
        index.Add(_open = segment);
        var page = _table.Take(DiskSegment.PageBytes);
        SegmentFormat.WriteHead(page, folder.Manifest.Id, number, IsSealedByKey);
        segment.File.Write([_table.Piece(0, DiskSegment.PageBytes)], 0);
    }

    // Behind what is in it, and what else is about to be.
    private bool HasRoom(DiskSegment segment, DiskBlock block, int others = 0, long otherPages = 0) =>
        segment.Pages + otherPages + block.TotalPages(IsSealedByKey) + TablePages(segment.Blocks.Count + others + 1, block.Layout)
            <= segment.Bytes / DiskSegment.PageBytes;

    // Layouts are few; a table that has one for each block has room too.
    private static int TablePages(int blocks, KvLayout layout) =>
        DiskSegment.PagesOf((long)blocks * (SegmentFormat.EntryBytes + sizeof(uint) + layout.EncodedBytes)) + 1;

    // As many blocks as one call takes.
    private int Prepare(DiskSegment segment, IReadOnlyList<DiskBlock> blocks, IReadOnlyList<BlockLease> leases, int first)
    {
        _pieces.Clear();
        var count = 0;
        var pages = 0L;
        var headPages = 0L;
        for (; first + count < blocks.Count && count < (IsSealedByKey ? 1 : MostBlocksAtOnce); count++)
        {
            var block = blocks[first + count];
            if (!HasRoom(segment, block, count, pages))
                break;
            pages += block.TotalPages(IsSealedByKey);
            headPages += block.HeadPages;
        }

        var buffer = _heads.Take(headPages * DiskSegment.PageBytes);
        buffer.Clear();
        var at = 0;
        for (var i = first; i < first + count; i++)
        {
            var bytes = blocks[i].HeadPages * DiskSegment.PageBytes;
            var head = buffer.Slice(at, PayloadFormat.HeadBytes(blocks[i].Layout));
            var key = keys?.Fresh().Writing;
            WriteHead(head, blocks[i], leases[i], key);
            _pieces.Add(_heads.Piece(at, bytes));
            _pieces.Add(key is null ? BodyOf(leases[i]) : Seal(head, leases[i], key));
            at += bytes;
        }

        return count;
    }

    private void WriteHead(Span<byte> head, DiskBlock block, BlockLease lease, PayloadKey? key)
    {
        var header = new PayloadHeader(
            block.Key, block.Generation, block.Layout, block.Lineage, (byte)Math.Clamp(block.Durability.Copies, 0, byte.MaxValue),
            block.ExpiresAt);
        PayloadFormat.Write(
            head, header, lease.Checksums, _layouts.Encode(block.Layout), new PayloadSealing(key, Encrypts: key is not null));
    }

    private double PartOf(TenantId tenant) => store.Accounts.Of(tenant).Limits.Part;

    // The rest of the last page is what the arena has there.
    private UnmanagedPiece BodyOf(BlockLease lease) =>
        UnmanagedPiece.Of(store.Arena.Span(lease.Offset, (int)DiskSegment.RoundUp(lease.Layout.BlockBytes)));

    private UnmanagedPiece Seal(ReadOnlySpan<byte> head, BlockLease lease, PayloadKey key)
    {
        using var seal = PayloadFormat.SealOf(head, key);
        var length = PayloadSeal.SealedBytes(lease.Layout.BlockBytes);
        var body = _body.Take(length);
        body[(int)length..].Clear();
        var plain = lease.Bytes;
        for (var (segment, at) = (0, 0); !plain.IsEmpty; segment++)
        {
            var part = plain[..Math.Min(plain.Length, PayloadSeal.SegmentBytes)];
            seal.Encrypt(segment, part, body.Slice(at, part.Length), body.Slice(at + part.Length, PayloadKey.MacBytes));
            plain = plain[part.Length..];
            at += part.Length + PayloadKey.MacBytes;
        }

        return _body.Piece(0, DiskSegment.RoundUp(length));
    }

    private void Reclaim(DiskSegment segment, DiskSegment? into, long room)
    {
        // Nothing of it is found by another start from now on: what is deleted behind its move is written down nowhere. It can be read
        // until it is closed.
        folder.Delete(segment.Path);
        if (into is not null && segment.IsSealedByKey == into.IsSealedByKey)
        {
            var most = Math.Min(into.Bytes / 2 / DiskSegment.PageBytes, (into.Bytes / DiskSegment.PageBytes) - room);
            foreach (var block in index.Hot(segment, PartOf))
            {
                if (!HasRoom(into, block) || into.Pages + block.TotalPages(IsSealedByKey) > most)
                    break;
                if (!store.Contains(block.Key)) // it comes again when it leaves the memory
                    Move(block, segment, into);
            }
        }

        forget(segment);
    }

    private void Move(DiskBlock block, DiskSegment segment, DiskSegment into)
    {
        var bytes = (long)block.TotalPages(segment.IsSealedByKey) * DiskSegment.PageBytes;
        var span = _body.Take(bytes);
        try
        {
            segment.File.Read([_body.Piece(0, bytes)], (long)block.Page * DiskSegment.PageBytes);
        }
        catch (IOException)
        {
            return; // it goes with its segment
        }

        // Damage is not carried on; what is sealed is looked at by who reads it.
        var head = span[..PayloadFormat.HeadBytes(block.Layout)];
        if (PayloadFormat.Read(head, _layouts, keys?.Fresh(), out var header, out _) != PromoteOutcome.Promoted
            || header.Key != block.Key || header.Generation != block.Generation)
            return;
        if (!segment.IsSealedByKey)
        {
            Span<uint> checksums = new uint[block.Layout.Layers];
            BlockChecksum.ComputeLayers(
                span.Slice(block.HeadPages * DiskSegment.PageBytes, block.Layout.BlockBytes), block.Layout, checksums);
            if (!checksums.SequenceEqual(PayloadFormat.Checksums(head)))
                return;
        }

        into.File.Write([_body.Piece(0, bytes)], (long)into.Pages * DiskSegment.PageBytes);
        index.Moved(block, into, into.Pages);
        into.Pages += block.TotalPages(segment.IsSealedByKey);
        counters.Wrote(bytes, moved: true);
    }

    private void GiveUp()
    {
        if (_open is not { } segment)
            return;
        _open = null;
        forget(segment);
    }
}
