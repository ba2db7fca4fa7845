using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KvCache.Checksums;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// What has changed about the blocks of a finished segment: which are gone, and which live longer or shorter. A file beside the segment's,
/// to which each change is appended before anybody is told of it: a silo that is killed does not bring back what was deleted.
/// </summary>
/// <remarks>A change is 16 bytes: number of the block, end of its life (Unix milliseconds, 0 for none, or <see cref="Gone"/>), and a CRC-32
/// of both and of the segment's number. Fewer bytes at the end were being written when the silo was killed, and nobody was told. Where one
/// does not agree, nobody knows which block it was about, and the whole segment is given up.</remarks>
internal sealed class SegmentChanges : IDisposable
{
    /// <summary>The block is gone.</summary>
    public const long Gone = -1;

    private const int EntryBytes = sizeof(uint) + sizeof(long) + sizeof(uint);

    private readonly FileStream _file;
    private readonly long _segment;

    private SegmentChanges(FileStream file, long segment)
    {
        _file = file;
        _segment = segment;
    }

    /// <summary>The file of a segment's changes.</summary>
    public static string PathOf(string segment) => Path.ChangeExtension(segment, ".changes");

    /// <summary>Opens the changes of a segment, to append to them.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public static SegmentChanges Open(DiskSegment segment)
    {
        var file = new FileStream(PathOf(segment.Path), new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite | FileShare.Delete,
            BufferSize = 0, // with the system when a write returns
        });
        file.Position = file.Length / EntryBytes * EntryBytes;
        return new SegmentChanges(file, segment.Number);
    }

    /// <summary>Applies the changes of a segment to its blocks.</summary>
    /// <returns>False when they cannot be read for certain.</returns>
    /// <exception cref="IOException">The disk failed.</exception>
    public static bool TryApply(DiskSegment segment)
    {
        var path = PathOf(segment.Path);
        if (!File.Exists(path))
            return true;
        var byIndex = segment.Blocks.ToDictionary(block => block.Index);
        ReadOnlySpan<byte> rest = File.ReadAllBytes(path);
        for (; rest.Length >= EntryBytes; rest = rest[EntryBytes..])
        {
            var value = BinaryPrimitives.ReadInt64LittleEndian(rest[sizeof(uint)..]);
            if (BinaryPrimitives.ReadUInt32LittleEndian(rest[(EntryBytes - sizeof(uint))..]) != Check(rest, segment.Number))
                return false;
            if (!byIndex.TryGetValue(BinaryPrimitives.ReadInt32LittleEndian(rest), out var block))
                continue;
            block.IsGone |= value == Gone;
            block.ExpiresAt = Math.Max(value, 0);
        }

        return true;
    }

    /// <summary>Appends a change.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Add(int index, long value)
    {
        Span<byte> entry = stackalloc byte[EntryBytes];
        BinaryPrimitives.WriteInt32LittleEndian(entry, index);
        BinaryPrimitives.WriteInt64LittleEndian(entry[sizeof(uint)..], value);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[(EntryBytes - sizeof(uint))..], Check(entry, _segment));
        _file.Write(entry);
    }

    /// <summary>Waits until the disk has them.</summary>
    public void Flush() => _file.Flush(flushToDisk: true);

    public void Dispose() => _file.Dispose();

    private static uint Check(ReadOnlySpan<byte> entry, long segment) =>
        BlockChecksum.Append(
            BlockChecksum.Compute(entry[..(EntryBytes - sizeof(uint))]), MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in segment)));
}
