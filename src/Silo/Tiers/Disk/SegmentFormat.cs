using System.Buffers.Binary;
using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Tiers.Payloads;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// Layout of a segment: a page that names it, blocks, a table of the blocks, and a page that says where the table is. A block is the head
/// of a payload (<see cref="PayloadFormat"/>) and its bytes, each in whole pages. Numbers are little-endian.
/// </summary>
/// <remarks>
/// <para>The table is what the index is built from at start. The head beside the bytes is what counts when they are read: it has the key,
/// the generation and the checksums, and its MAC where blocks are sealed.</para>
/// <para>A segment without its last page was not finished, and has nothing that anybody was promised.</para>
/// </remarks>
internal static class SegmentFormat
{
    /// <summary>Bytes of a block in the table.</summary>
    public const int EntryBytes = ExpiresOffset + sizeof(long);

    private const uint HeadMagic = 0x4753564B, TailMagic = 0x4554564B; // "KVSG", "KVTE"
    private const ushort Version = 1;

    private const int DiskIdBytes = 16, DiskIdOffset = 16;
    private const int FlagsOffset = 6, NumberOffset = 8, HeadBytes = DiskIdOffset + DiskIdBytes + sizeof(uint);
    private const int TableOffset = DiskIdOffset + DiskIdBytes, TableBytesOffset = TableOffset + sizeof(long);
    private const int CountOffset = TableBytesOffset + sizeof(long), LayoutsOffset = CountOffset + sizeof(uint);
    private const int SlotsOffset = LayoutsOffset + sizeof(uint);
    private const int TableCheckOffset = SlotsOffset + sizeof(uint), TailBytes = TableCheckOffset + (2 * sizeof(uint));

    private const int HashOffset = NamespaceId.Size, GenerationOffset = HashOffset + BlockHash.Size;
    private const int ParentOffset = GenerationOffset + sizeof(ulong), RequestOffset = ParentOffset + BlockHash.Size;
    private const int DepthOffset = RequestOffset + sizeof(ulong), SuffixOffset = DepthOffset + sizeof(int);
    private const int CopiesOffset = SuffixOffset + sizeof(int), LayoutOffset = CopiesOffset + sizeof(uint);
    private const int PageOffset = LayoutOffset + sizeof(uint), IndexOffset = PageOffset + sizeof(uint);
    private const int ExpiresOffset = IndexOffset + sizeof(uint);
    private const uint PersistedFlag = 1 << 8;
    private const ushort SealedFlag = 1;

    /// <summary>Writes the first page.</summary>
    public static void WriteHead(Span<byte> page, Guid disk, long number, bool isSealedByKey)
    {
        page[..DiskSegment.PageBytes].Clear();
        WriteMarks(page, HeadMagic, disk, number, isSealedByKey);
        BinaryPrimitives.WriteUInt32LittleEndian(
            page[(HeadBytes - sizeof(uint))..], BlockChecksum.Compute(page[..(HeadBytes - sizeof(uint))]));
    }

    /// <summary>Writes the table and the last page.</summary>
    /// <param name="segment">The segment.</param>
    /// <param name="disk">Id of the disk.</param>
    /// <param name="blocks">Its blocks that are not gone.</param>
    /// <param name="buffer">Receives both.</param>
    /// <returns>Bytes written, in whole pages.</returns>
    public static long WriteTable(DiskSegment segment, Guid disk, IReadOnlyList<DiskBlock> blocks, PageBuffer buffer)
    {
        var memo = new LayoutMemo();
        var layouts = new Dictionary<KvLayout, int>();
        var encoded = new List<byte[]>();
        foreach (var block in blocks)
        {
            if (layouts.TryAdd(block.Layout, encoded.Count))
                encoded.Add(memo.Encode(block.Layout).ToArray());
        }

        var layoutBytes = encoded.Sum(layout => sizeof(uint) + layout.Length);
        var tableBytes = layoutBytes + ((long)blocks.Count * EntryBytes);
        var total = DiskSegment.RoundUp(tableBytes) + DiskSegment.PageBytes;
        var bytes = buffer.Take(total)[..checked((int)total)];
        bytes.Clear();
        var rest = bytes;
        foreach (var layout in encoded)
        {
            BinaryPrimitives.WriteInt32LittleEndian(rest, layout.Length);
            layout.CopyTo(rest[sizeof(uint)..]);
            rest = rest[(sizeof(uint) + layout.Length)..];
        }

        foreach (var block in blocks)
        {
            WriteEntry(rest, block, layouts[block.Layout]);
            rest = rest[EntryBytes..];
        }

        var tail = bytes[^DiskSegment.PageBytes..];
        WriteMarks(tail, TailMagic, disk, segment.Number, segment.IsSealedByKey);
        BinaryPrimitives.WriteInt64LittleEndian(tail[TableOffset..], (long)segment.Pages * DiskSegment.PageBytes);
        BinaryPrimitives.WriteInt64LittleEndian(tail[TableBytesOffset..], tableBytes);
        BinaryPrimitives.WriteInt32LittleEndian(tail[CountOffset..], blocks.Count);
        BinaryPrimitives.WriteInt32LittleEndian(tail[LayoutsOffset..], encoded.Count);
        BinaryPrimitives.WriteInt32LittleEndian(tail[SlotsOffset..], segment.Slots);
        BinaryPrimitives.WriteUInt32LittleEndian(tail[TableCheckOffset..], BlockChecksum.Compute(bytes[..(int)tableBytes]));
        BinaryPrimitives.WriteUInt32LittleEndian(
            tail[(TailBytes - sizeof(uint))..], BlockChecksum.Compute(tail[..(TailBytes - sizeof(uint))]));
        return total;
    }

    /// <summary>Reads a finished segment's table.</summary>
    /// <param name="path">The file.</param>
    /// <param name="disk">Id of the disk that it must belong to.</param>
    /// <param name="direct">Whether the system's cache is bypassed.</param>
    /// <returns>The segment with its blocks; null when it was not finished, is damaged, or is another disk's.</returns>
    /// <exception cref="IOException">The disk failed.</exception>
    public static DiskSegment? Read(string path, Guid disk, bool direct)
    {
        var file = DirectFile.Open(path, direct);
        var kept = false;
        try
        {
            using var buffer = new PageBuffer();
            var length = file.Length;
            if (length < 2 * DiskSegment.PageBytes || length % DiskSegment.PageBytes != 0)
                return null;
            var tail = ReadAt(file, buffer, length - DiskSegment.PageBytes, DiskSegment.PageBytes);
            var tableAt = BinaryPrimitives.ReadInt64LittleEndian(tail[TableOffset..]);
            var tableBytes = BinaryPrimitives.ReadInt64LittleEndian(tail[TableBytesOffset..]);
            var count = BinaryPrimitives.ReadInt32LittleEndian(tail[CountOffset..]);
            var layouts = BinaryPrimitives.ReadInt32LittleEndian(tail[LayoutsOffset..]);
            var number = BinaryPrimitives.ReadInt64LittleEndian(tail[NumberOffset..]);
            var slots = BinaryPrimitives.ReadInt32LittleEndian(tail[SlotsOffset..]);
            var check = BinaryPrimitives.ReadUInt32LittleEndian(tail[TableCheckOffset..]);
            if (!HasMarks(tail, TailMagic, disk)
                || BinaryPrimitives.ReadUInt32LittleEndian(tail[(TailBytes - sizeof(uint))..])
                    != BlockChecksum.Compute(tail[..(TailBytes - sizeof(uint))])
                || tableAt < DiskSegment.PageBytes || tableAt % DiskSegment.PageBytes != 0 || tableBytes is < 0 or > int.MaxValue
                || tableAt + DiskSegment.RoundUp(tableBytes) + DiskSegment.PageBytes != length)
                return null;
            var isSealedByKey = (BinaryPrimitives.ReadUInt16LittleEndian(tail[FlagsOffset..]) & SealedFlag) != 0;
            var segment = new DiskSegment(number, path, file, isSealedByKey)
            {
                Bytes = length,
                Pages = (int)(tableAt / DiskSegment.PageBytes),
                IsComplete = true,
                Slots = slots,
            };
            if (tableBytes > 0)
            {
                var table = ReadAt(file, buffer, tableAt, DiskSegment.RoundUp(tableBytes))[..(int)tableBytes];
                if (BlockChecksum.Compute(table) != check || !TryReadTable(table, count, layouts, segment))
                    return null;
            }

            kept = true;
            return segment;
        }
        finally
        {
            if (!kept)
                file.Dispose();
        }
    }

    private static Span<byte> ReadAt(DirectFile file, PageBuffer buffer, long offset, long bytes)
    {
        var span = buffer.Take(bytes)[..checked((int)bytes)];
        file.Read([buffer.Piece(0, bytes)], offset);
        return span;
    }

    private static bool TryReadTable(ReadOnlySpan<byte> table, int count, int layouts, DiskSegment segment)
    {
        var known = new List<KvLayout>();
        for (var i = 0; i < layouts; i++)
        {
            var length = table.Length < sizeof(uint) ? -1 : BinaryPrimitives.ReadInt32LittleEndian(table);
            if (length < 0 || length > table.Length - sizeof(uint)
                || new LayoutMemo().Read(table.Slice(sizeof(uint), length)) is not { } layout)
                return false;
            known.Add(layout);
            table = table[(sizeof(uint) + length)..];
        }

        if (count < 0 || table.Length != (long)count * EntryBytes)
            return false;
        for (; !table.IsEmpty; table = table[EntryBytes..])
        {
            var layout = BinaryPrimitives.ReadUInt32LittleEndian(table[LayoutOffset..]);
            if (layout >= known.Count)
                return false;
            var copies = BinaryPrimitives.ReadUInt32LittleEndian(table[CopiesOffset..]);
            var block = new DiskBlock(
                new BlockKey(NamespaceId.Read(table), new BlockHash(table[HashOffset..])),
                BinaryPrimitives.ReadUInt64LittleEndian(table[GenerationOffset..]),
                known[(int)layout],
                new BlockLineage(
                    new BlockHash(table[ParentOffset..]),
                    BinaryPrimitives.ReadInt32LittleEndian(table[DepthOffset..]),
                    BinaryPrimitives.ReadUInt64LittleEndian(table[RequestOffset..]),
                    BinaryPrimitives.ReadInt32LittleEndian(table[SuffixOffset..])),
                new BlockDurability((byte)copies, (copies & PersistedFlag) != 0))
            {
                Page = BinaryPrimitives.ReadInt32LittleEndian(table[PageOffset..]),
                Index = BinaryPrimitives.ReadInt32LittleEndian(table[IndexOffset..]),
                ExpiresAt = BinaryPrimitives.ReadInt64LittleEndian(table[ExpiresOffset..]),
                Segment = segment,
            };
            if (block.Page < 1 || (uint)block.Index >= (uint)segment.Slots || block.Lineage.Depth < 0 || block.Lineage.SuffixTokens < 0 || block.ExpiresAt < 0
                || block.Page + (long)block.TotalPages(segment.IsSealedByKey) > segment.Pages)
                return false;
            segment.Blocks.Add(block);
        }

        return true;
    }

    private static void WriteEntry(Span<byte> entry, DiskBlock block, int layout)
    {
        block.Key.Namespace.CopyTo(entry);
        block.Key.Hash.CopyTo(entry[HashOffset..]);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[GenerationOffset..], block.Generation);
        block.Lineage.Parent.CopyTo(entry[ParentOffset..]);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[RequestOffset..], block.Lineage.RequestId);
        BinaryPrimitives.WriteInt32LittleEndian(entry[DepthOffset..], block.Lineage.Depth);
        BinaryPrimitives.WriteInt32LittleEndian(entry[SuffixOffset..], block.Lineage.SuffixTokens);
        BinaryPrimitives.WriteUInt32LittleEndian(
            entry[CopiesOffset..],
            (uint)Math.Clamp(block.Durability.Copies, 0, byte.MaxValue) | (block.Durability.Persisted ? PersistedFlag : 0));
        BinaryPrimitives.WriteInt32LittleEndian(entry[LayoutOffset..], layout);
        BinaryPrimitives.WriteInt32LittleEndian(entry[PageOffset..], block.Page);
        BinaryPrimitives.WriteInt32LittleEndian(entry[IndexOffset..], block.Index);
        BinaryPrimitives.WriteInt64LittleEndian(entry[ExpiresOffset..], block.ExpiresAt);
    }

    private static void WriteMarks(Span<byte> page, uint magic, Guid disk, long number, bool isSealedByKey)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(page, magic);
        BinaryPrimitives.WriteUInt16LittleEndian(page[4..], Version);
        BinaryPrimitives.WriteUInt16LittleEndian(page[FlagsOffset..], isSealedByKey ? SealedFlag : (ushort)0);
        BinaryPrimitives.WriteInt64LittleEndian(page[NumberOffset..], number);
        disk.TryWriteBytes(page[DiskIdOffset..]);
    }

    private static bool HasMarks(ReadOnlySpan<byte> page, uint magic, Guid disk) =>
        BinaryPrimitives.ReadUInt32LittleEndian(page) == magic && BinaryPrimitives.ReadUInt16LittleEndian(page[4..]) == Version
        && new Guid(page.Slice(DiskIdOffset, DiskIdBytes)) == disk;
}
