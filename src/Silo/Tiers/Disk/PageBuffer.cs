using System.Runtime.InteropServices;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>Memory in whole pages outside the GC heap, which grows to what was needed most. One owner.</summary>
internal sealed unsafe class PageBuffer : IDisposable
{
    private byte* _start;
    private long _length;

    /// <summary>Room for so many bytes, in whole pages; what was there before is gone.</summary>
    public Span<byte> Take(long bytes)
    {
        var length = DiskSegment.RoundUp(bytes);
        if (length > _length)
        {
            Dispose();
            _start = (byte*)NativeMemory.AlignedAlloc((nuint)length, DiskSegment.PageBytes);
            _length = length;
        }

        return new Span<byte>(_start, checked((int)length));
    }

    /// <summary>The first bytes of what was taken, as a piece of a call.</summary>
    public UnmanagedPiece Piece(long offset, long bytes) => new((nint)(_start + offset), (nint)bytes);

    public void Dispose()
    {
        NativeMemory.AlignedFree(_start);
        _start = null;
        _length = 0;
    }
}
