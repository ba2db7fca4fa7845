using System.Buffers;

namespace KvCache.Caching;

/// <summary>Takes an entry as an array of exactly its size.</summary>
internal sealed class WholeArray : IBufferWriter<byte>
{
    public byte[] Bytes { get; private set; } = [];

    public void Advance(int count)
    {
        // The whole array was asked for, and is full.
    }

    public Memory<byte> GetMemory(int sizeHint = 0) => Bytes = GC.AllocateUninitializedArray<byte>(sizeHint);

    public Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;
}
