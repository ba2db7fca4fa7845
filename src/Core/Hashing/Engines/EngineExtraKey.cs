using System.Buffers;
using KvCache.Hashing.Engines;

namespace KvCache;

/// <summary>
/// What makes KV of equal tokens different in vLLM's block hashes. The keys of a block are, in this order: the LoRA adapter's name, the
/// multimodal items that lie in the block, the salt (in the first block of a prompt only) and the hashes of prompt embeddings.
/// </summary>
public abstract class EngineExtraKey
{
    private EngineExtraKey()
    {
    }

    /// <summary>A text: the name of a LoRA adapter, or a cache salt. vLLM does not tag them, so that one can pass for the other.</summary>
    public static EngineExtraKey Text(string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return new TextKey(value);
    }

    /// <summary>A multimodal item and where it begins in the tokens.</summary>
    /// <param name="id">Hash or name of the item.</param>
    /// <param name="offset">First token of the item, counted as the engine's version counts: from the prompt or from the block, where it
    /// can be negative.</param>
    public static EngineExtraKey Item(string id, int offset)
    {
        ArgumentNullException.ThrowIfNull(id);
        return new ItemKey(id, offset);
    }

    /// <summary>The hash of prompt embeddings.</summary>
    public static EngineExtraKey Digest(ReadOnlyMemory<byte> value) => new DigestKey(value);

    internal abstract void WriteTo(IBufferWriter<byte> writer);

    private sealed class TextKey(string value) : EngineExtraKey
    {
        internal override void WriteTo(IBufferWriter<byte> writer) => CanonicalCbor.Text(writer, value);
    }

    private sealed class ItemKey(string id, int offset) : EngineExtraKey
    {
        internal override void WriteTo(IBufferWriter<byte> writer)
        {
            CanonicalCbor.Array(writer, 2);
            CanonicalCbor.Text(writer, id);
            CanonicalCbor.Integer(writer, offset);
        }
    }

    private sealed class DigestKey(ReadOnlyMemory<byte> value) : EngineExtraKey
    {
        internal override void WriteTo(IBufferWriter<byte> writer) => CanonicalCbor.Bytes(writer, value.Span);
    }
}
