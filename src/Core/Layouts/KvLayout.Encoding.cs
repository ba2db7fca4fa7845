using KvCache.Binary;

namespace KvCache;

/// <content>The canonical encoding of a layout: part of a namespace id, of the wire format and of what other tiers keep.</content>
public sealed partial class KvLayout
{
    /// <summary>Longest encoding of a layout, in bytes.</summary>
    public const int MaxEncodedBytes = OpaqueFixedBytes + (sizeof(uint) * MaxLayers);

    private const byte StructuredKind = 1, OpaqueKind = 2;
    private const int StructuredBytes = 1 + (4 * sizeof(uint)) + 1 + 1;
    private const int OpaqueFixedBytes = 1 + (2 * sizeof(uint));

    /// <summary>Bytes that <see cref="WriteTo"/> appends.</summary>
    public int EncodedBytes => IsOpaque ? OpaqueFixedBytes + (sizeof(uint) * Layers) : StructuredBytes;

    /// <summary>
    /// Appends the canonical encoding (docs/hashing.md, field 8): kind, tokens and layers, then heads, head dim, parts and element type of
    /// a layout with a known shape, or the end of every layer of an opaque one. It says itself where it ends.
    /// </summary>
    internal void WriteTo(WireWriter writer)
    {
        writer.UInt8(IsOpaque ? OpaqueKind : StructuredKind);
        writer.UInt32((uint)TokensPerBlock);
        writer.UInt32((uint)Layers);
        if (IsOpaque)
        {
            foreach (var end in _offsets.AsSpan(1))
                writer.UInt32((uint)end);
            return;
        }

        writer.UInt32((uint)KvHeads);
        writer.UInt32((uint)HeadDim);
        writer.UInt8((byte)Parts);
        writer.UInt8((byte)DataType);
    }

    /// <summary>Reads a canonical encoding; bytes behind it are left to the caller.</summary>
    /// <exception cref="KvFormatException">It breaks off, is of an unknown kind, or a field is out of its bounds.</exception>
    internal static KvLayout Read(ref WireReader reader)
    {
        var kind = reader.UInt8();
        var tokens = reader.Count(int.MaxValue, "tokens per block");
        var layers = reader.Count(MaxLayers, "layers");
        try
        {
            switch (kind)
            {
                case StructuredKind:
                    int heads = reader.Count(int.MaxValue, "heads"), dim = reader.Count(int.MaxValue, "head dim");
                    int parts = reader.UInt8();
                    return Create(layers, heads, dim, (KvDataType)reader.UInt8(), tokens, parts);
                case OpaqueKind:
                    var offsets = new int[layers + 1];
                    for (var i = 1; i <= layers; i++)
                        offsets[i] = reader.Count(int.MaxValue, "layer offset");
                    return Opaque(offsets, tokens);
                default:
                    throw new KvFormatException(
                        $"The layout kind is {kind}; {StructuredKind} (structured) or {OpaqueKind} (opaque) was expected.");
            }
        }
        catch (ArgumentException e)
        {
            throw new KvFormatException($"The layout is not valid: {e.Message}", e);
        }
    }
}
