using System.Buffers;

namespace KvCache.Bench.Memory;

/// <summary>A piece of a <see cref="WarmBuffer"/> in the form that the client takes.</summary>
internal sealed unsafe class WarmMemory : MemoryManager<byte>
{
    private readonly byte* _start;
    private readonly int _length;

    private WarmMemory(Span<byte> bytes)
    {
        fixed (byte* start = bytes)
            _start = start;
        _length = bytes.Length;
    }

    /// <summary>Block <paramref name="index"/> of the buffer; valid while the buffer is.</summary>
    public static Memory<byte> Block(WarmBuffer buffer, int index, int bytes) =>
        new WarmMemory(buffer.Slice((long)index * bytes, bytes)).Memory;

    public override Span<byte> GetSpan() => new(_start, _length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(_start + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
