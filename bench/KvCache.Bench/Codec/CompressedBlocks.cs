using KvCache.Bench.Memory;

namespace KvCache.Bench.Codec;

/// <summary>Encoded blocks of one way of compressing, in warm memory.</summary>
internal sealed class CompressedBlocks(string name, TensorCompression compression, KvLayout layout, int blocks) : IDisposable
{
    private readonly int _slot = BatchTensorSerializer.MaxEncodedBytes(layout);
    private readonly WarmBuffer _memory = WarmBuffer.Private((long)BatchTensorSerializer.MaxEncodedBytes(layout) * blocks);

    /// <summary>Last word of row names.</summary>
    public string Name => name;

    /// <summary>How they are compressed, at the default level.</summary>
    public TensorCompression Compression => compression;

    /// <summary>Bytes of every encoded block.</summary>
    public int[] Lengths { get; } = new int[blocks];

    /// <summary>Room for a block.</summary>
    public Span<byte> Slot(int block) => _memory.Slice((long)block * _slot, _slot);

    public void Dispose() => _memory.Dispose();
}
