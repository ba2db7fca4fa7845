using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KvCache.Checksums;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// What has changed about the blocks of a finished segment: which are gone, and which live longer or shorter. A file beside the segment's, in
/// which each change is written before anybody is told of it: a silo that is killed does not bring back what was deleted.
/// </summary>
/// <remarks>
/// A place of 16 bytes for each number that was given to a block, all there from the first change on: 1, end of its life (Unix milliseconds,
/// 0 for none, or <see cref="Gone"/>), and a CRC-32 of both, of the number and of the segment's; or zeros. A file of another length, or with a
/// place that does not agree, has lost nobody knows what: then the whole segment is given up.
/// </remarks>
internal sealed class SegmentChanges : IDisposable
{
    /// <summary>Ending of the files.</summary>
    public const string Ending = ".changes";

    /// <summary>The block is gone.</summary>
    public const long Gone = -1;

    private const int EntryBytes = 16, CheckOffset = EntryBytes - sizeof(uint);
    private const int Changed = 1;

    private readonly SafeFileHandle _file;
    private readonly long _segment;

    private SegmentChanges(SafeFileHandle file, long segment)
    {
        _file = file;
        _segment = segment;
    }

    /// <summary>The file of a segment's changes.</summary>
    public static string PathOf(string segment) => Path.ChangeExtension(segment, Ending);

    /// <summary>Opens the changes of a segment, to write more of them.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public static SegmentChanges Open(DiskSegment segment)
    {
        var options = new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite | FileShare.Delete,
            BufferSize = 0,
        };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = DiskFolder.Mode;
        using var stream = new FileStream(PathOf(segment.Path), options);
        if (stream.Length == 0)
            stream.SetLength((long)segment.Slots * EntryBytes);
        return new SegmentChanges(
            File.OpenHandle(
                PathOf(segment.Path), FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete), segment.Number);
    }

    /// <summary>Applies the changes of a segment to its blocks.</summary>
    /// <returns>False when they cannot be read for certain.</returns>
    /// <exception cref="IOException">The disk failed.</exception>
    public static bool TryApply(DiskSegment segment)
    {
        var path = PathOf(segment.Path);
        if (!File.Exists(path))
            return true;
        var places = File.ReadAllBytes(path);
        if (places.Length != (long)segment.Slots * EntryBytes)
            return false;
        for (var index = 0; index < segment.Slots; index++)
        {
            if (!IsWhole(places.AsSpan(index * EntryBytes, EntryBytes), index, segment.Number))
                return false;
        }

        foreach (var block in segment.Blocks)
        {
            ReadOnlySpan<byte> place = places.AsSpan(block.Index * EntryBytes, EntryBytes);
            if (BinaryPrimitives.ReadInt32LittleEndian(place) != Changed)
                continue;
            var value = BinaryPrimitives.ReadInt64LittleEndian(place[sizeof(int)..]);
            block.IsGone = value == Gone;
            block.ExpiresAt = Math.Max(value, 0);
        }

        return true;
    }

    /// <summary>Writes a change; it is with the system when this returns.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Set(int index, long value)
    {
        Span<byte> place = stackalloc byte[EntryBytes];
        BinaryPrimitives.WriteInt32LittleEndian(place, Changed);
        BinaryPrimitives.WriteInt64LittleEndian(place[sizeof(int)..], value);
        BinaryPrimitives.WriteUInt32LittleEndian(place[CheckOffset..], Check(place, index, _segment));
        RandomAccess.Write(_file, place, (long)index * EntryBytes);
    }

    /// <summary>Waits until the disk has them.</summary>
    public void Flush() => RandomAccess.FlushToDisk(_file);

    public void Dispose() => _file.Dispose();

    private static bool IsWhole(ReadOnlySpan<byte> place, int index, long segment) =>
        place.IndexOfAnyExcept((byte)0) < 0
        || (BinaryPrimitives.ReadInt32LittleEndian(place) == Changed
            && BinaryPrimitives.ReadUInt32LittleEndian(place[CheckOffset..]) == Check(place, index, segment));

    private static uint Check(ReadOnlySpan<byte> place, int index, long segment)
    {
        var crc = BlockChecksum.Compute(place[..CheckOffset]);
        crc = BlockChecksum.Append(crc, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in index)));
        return BlockChecksum.Append(crc, MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in segment)));
    }
}
