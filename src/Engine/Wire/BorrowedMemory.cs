using System.Buffers;

namespace KvCache.Engine.Wire;

/// <summary>Memory that somebody has pinned for the time of one call, for methods that take no pointers. One object serves all calls of a connection.</summary>
internal sealed unsafe class BorrowedMemory : MemoryManager<byte>
{
    private byte* _start;
    private int _length;

    /// <summary>The memory; valid until the next call, and as long as it is pinned.</summary>
    public Memory<byte> Of(byte* start, int length)
    {
        _start = start;
        _length = length;
        return Memory;
    }

    public override Span<byte> GetSpan() => new(_start, _length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(_start + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
