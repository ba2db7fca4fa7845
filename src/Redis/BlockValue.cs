using System.Buffers;
using System.Buffers.Binary;

namespace KvCache.Redis;

/// <summary>
/// A block as a value in Redis: four bytes that name the format, the namespace and hash of the block, so that a value under a foreign key
/// is noticed, and the block as an encoded tensor (docs/serialization.md), which has a checksum.
/// </summary>
internal static class BlockValue
{
    private const uint Magic = 0x3152564B; // "KVR1"
    private const int NameBytes = sizeof(uint) + NamespaceId.Size + BlockHash.Size;

    /// <summary>Encodes a block into rented memory.</summary>
    /// <param name="block">The bytes.</param>
    /// <param name="ns">Its namespace.</param>
    /// <param name="hash">Its hash.</param>
    /// <param name="encoding">What is done to it.</param>
    /// <param name="length">Bytes of the value.</param>
    /// <returns>The value, to be given back to <see cref="ArrayPool{T}.Shared"/> when nobody reads it any more.</returns>
    public static byte[] Encode(ReadOnlySpan<byte> block, CacheNamespace ns, BlockHash hash, TensorEncoding encoding, out int length)
    {
        var (type, shape) = TypeOf(ns.Layout);
        encoding = Fitting(encoding, type);
        var value = ArrayPool<byte>.Shared.Rent(NameBytes + TensorSerializer.MaxEncodedBytes(type, shape, encoding));
        WriteName(value, ns, hash);
        length = NameBytes + TensorSerializer.Encode(block, type, shape, value.AsSpan(NameBytes), encoding);
        return value;
    }

    /// <summary>Decodes a block.</summary>
    /// <param name="value">The value.</param>
    /// <param name="ns">The namespace that is expected.</param>
    /// <param name="hash">The hash that is expected.</param>
    /// <param name="block">Receives the bytes, of a whole block. Undefined after a failure.</param>
    /// <returns>False when the value is not that of this block, or is damaged.</returns>
    public static bool TryDecode(ReadOnlySpan<byte> value, CacheNamespace ns, BlockHash hash, Span<byte> block)
    {
        Span<byte> name = stackalloc byte[NameBytes];
        WriteName(name, ns, hash);
        var (type, shape) = TypeOf(ns.Layout);
        if (!value.StartsWith(name))
            return false;
        var tensor = value[NameBytes..];
        return TensorSerializer.Verify(tensor, block.Length, out var header) is null
            && header.DataType == type && header.Shape == shape
            && TensorSerializer.ReadPayload(tensor, header, block) is null;
    }

    /// <summary>What is stored of elements of a type: those that are narrow already, or are an engine's own bytes, stay as they are.</summary>
    public static TensorEncoding Fitting(TensorEncoding encoding, KvDataType type) =>
        type == KvDataType.Float32 ? encoding : encoding with { Elements = ElementEncoding.Raw };

    private static void WriteName(Span<byte> name, CacheNamespace ns, BlockHash hash)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(name, Magic);
        ns.Id.CopyTo(name[sizeof(uint)..]);
        hash.CopyTo(name[(sizeof(uint) + NamespaceId.Size)..]);
    }

    private static (KvDataType Type, TensorShape Shape) TypeOf(KvLayout layout) => layout.IsOpaque
        ? (KvDataType.UInt8, new TensorShape(layout.BlockBytes))
        : (layout.DataType, new TensorShape(layout.Layers, layout.Parts, layout.TokensPerBlock, layout.KvHeads, layout.HeadDim));
}
