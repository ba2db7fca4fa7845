using System.Buffers;
using System.Runtime.InteropServices;

namespace KvCache.Client.Scatter;

/// <summary>Memory outside of the garbage-collected heap, which is kept and used again: fresh pages cost more than a load.</summary>
internal sealed unsafe class NativeMemoryBlock(int length) : MemoryManager<byte>
{
    private const int Alignment = 4096;

    private void* _pointer = NativeMemory.AlignedAlloc((nuint)length, Alignment);

    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_pointer is null, this);
        return new(_pointer, length);
    }

    public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_pointer + elementIndex, default, this);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
    }
}
