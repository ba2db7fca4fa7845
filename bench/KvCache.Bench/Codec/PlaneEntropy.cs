using System.Buffers.Binary;

namespace KvCache.Bench.Codec;

/// <summary>
/// What an ideal coder would reach that knows the frequencies of each plane and nothing else: the entropy of order 0 (Shannon, 1948). The
/// upper bytes of the elements, rotated left by a bit, are coded; the lower ones are stored as they are. Keys and values of each layer have
/// frequencies of their own, which cost nothing here.
/// </summary>
internal static class PlaneEntropy
{
    /// <returns>Bytes that a block takes at least.</returns>
    public static double Bound(ReadOnlySpan<byte> block, KvLayout layout)
    {
        var bytes = 0.0;
        var part = layout.LayerBytes(0) / layout.Parts;
        for (var offset = 0; offset < block.Length; offset += part)
            bytes += Bound(block.Slice(offset, part));
        return bytes;
    }

    private static double Bound(ReadOnlySpan<byte> elements)
    {
        Span<int> counts = stackalloc int[256];
        counts.Clear();
        var count = elements.Length / 2;
        for (var i = 0; i < elements.Length; i += 2)
            counts[(byte)(BinaryPrimitives.ReadUInt16LittleEndian(elements[i..]) >> 7)]++;
        var bits = 0.0;
        foreach (var occurrences in counts)
        {
            if (occurrences > 0)
                bits += occurrences * Math.Log2((double)count / occurrences);
        }

        return count + (bits / 8);
    }
}
