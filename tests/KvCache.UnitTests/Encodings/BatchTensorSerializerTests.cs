using System.Buffers;
using System.Buffers.Binary;
using System.IO.Hashing;
using CsCheck;
using KvCache.Encodings;
using Xunit;

namespace KvCache.UnitTests;

public sealed class BatchTensorSerializerTests
{
    private static readonly KvLayout Layout = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 8, KvDataType.Float32, tokensPerBlock: 4);
    private static readonly KvLayout OpaqueLayout = KvLayout.Opaque([0, 100, 101, 400], tokensPerBlock: 16);

    private static readonly Gen<(KvLayout Layout, TensorEncoding Encoding, LayerRange Range)> Cases =
        Gen.Select(Gen.OneOf(Layout, OpaqueLayout), Gen.Enum<ElementEncoding>(), Gen.Enum<TensorCompression>(), Gen.Int[0, 100],
            Gen.Int[0, 100], (layout, elements, compression, a, b) =>
        {
            var first = a % layout.Layers;
            var range = new LayerRange(first, 1 + (b % (layout.Layers - first)));
            return (layout, new TensorEncoding(layout.IsOpaque ? ElementEncoding.Raw : elements, compression), range);
        });

    [Fact]
    public void A_range_of_layers_decodes_to_the_slice_of_the_block() => Cases.Sample(c =>
    {
        var block = Block(c.Layout);
        var encoded = Encoded(block, c.Layout, c.Encoding);
        var all = Decoded(encoded, c.Layout, c.Layout.AllLayers);
        if (c.Encoding.Elements == ElementEncoding.Raw)
            Assert.Equal(block, all);
        Assert.Equal(all[c.Layout.LayerOffset(c.Range.First)..c.Layout.LayerOffset(c.Range.End)], Decoded(encoded, c.Layout, c.Range));
        Assert.Equal(c.Layout, BatchTensorSerializer.ReadLayout(encoded));
        Assert.True(encoded.Length <= BatchTensorSerializer.MaxEncodedBytes(c.Layout, c.Encoding));
    }, iter: 300);

    [Fact]
    public void A_corrupt_layer_harms_only_itself()
    {
        var block = Block(Layout);
        for (var corrupt = 0; corrupt < Layout.Layers; corrupt++)
        {
            var encoded = Encoded(block, Layout, default);
            encoded[Offset(encoded, corrupt) + 60] ^= 1;
            for (var layer = 0; layer < Layout.Layers; layer++)
            {
                var range = new LayerRange(layer, 1);
                if (layer == corrupt)
                    Assert.StartsWith(
                        $"Layer {layer}: ", Assert.Throws<KvFormatException>(() => Decoded(encoded, Layout, range)).Message,
                        StringComparison.Ordinal);
                else
                    Assert.Equal(block[Layout.LayerOffset(layer)..Layout.LayerOffset(layer + 1)], Decoded(encoded, Layout, range));
            }
        }
    }

    [Fact]
    public void Swapped_layers_are_found()
    {
        var encoded = Encoded(Block(Layout), Layout, default);
        var (first, second) = (Offset(encoded, 0), Offset(encoded, 1));
        byte[] swapped =
            [.. encoded[..first], .. encoded[second..(second + second - first)], .. encoded[first..second],
            .. encoded[(second + second - first)..]];
        Assert.Throws<KvFormatException>(() => Decoded(swapped, Layout, new LayerRange(0, 1)));
        Assert.Throws<KvFormatException>(() => Decoded(swapped, Layout, new LayerRange(1, 1)));
    }

    [Fact]
    public void A_changed_byte_is_found() => Gen.Select(Cases, Gen.Int[0, 1_000_000], Gen.Byte[1, 255]).Sample((c, position, change) =>
    {
        var encoded = Encoded(Block(c.Layout), c.Layout, c.Encoding);
        encoded[position % encoded.Length] ^= change;
        Assert.Throws<KvFormatException>(() => Decoded(encoded, c.Layout, c.Layout.AllLayers));
    }, iter: 1_000);

    [Fact]
    public void A_cut_or_lengthened_block_is_refused() => Gen.Select(Cases, Gen.Int[0, 1_000_000]).Sample((c, length) =>
    {
        var encoded = Encoded(Block(c.Layout), c.Layout, c.Encoding);
        foreach (var bytes in new byte[][] { encoded[..(length % encoded.Length)], [.. encoded, 0] })
        {
            Assert.Throws<KvFormatException>(() => Decoded(bytes, c.Layout, c.Range));
            Assert.Throws<KvFormatException>(() => BatchTensorSerializer.ReadLayout(bytes));
        }
    }, iter: 300);

    [Fact]
    public void A_forged_header_gives_only_the_documented_exception() =>
        Gen.Select(Cases, Gen.Int[0, 1_000].Array[1, 3], Gen.Byte).Sample((c, positions, value) =>
        {
            var encoded = Encoded(Block(c.Layout), c.Layout, c.Encoding);
            var headBytes = BatchHeader.BytesFor(c.Layout.Layers);
            foreach (var position in positions)
                encoded[position % headBytes] = value;
            var layers = BinaryPrimitives.ReadInt32LittleEndian(encoded.AsSpan(12));
            if (layers is > 0 and < 10)
                Forge(encoded.AsSpan(0, Math.Min(encoded.Length, BatchHeader.BytesFor(layers))));
            foreach (var read in new Action[] { () => Decoded(encoded, c.Layout, c.Range),
                () => BatchTensorSerializer.ReadLayout(encoded) })
            {
                try
                {
                    read();
                }
                catch (KvFormatException)
                {
                    // Or an answer, where the forgery kept the header consistent.
                }
            }
        }, iter: 3_000);

    [Fact]
    public void A_block_of_another_layout_is_refused()
    {
        var encoded = Encoded(Block(Layout), Layout, default);
        // As many bytes, other meaning.
        var other = KvLayout.Create(layers: 4, kvHeads: 4, headDim: 4, KvDataType.Float32, tokensPerBlock: 4);
        Assert.Contains(
            "another layout", Assert.Throws<KvFormatException>(() => Decoded(encoded, other, new LayerRange(0, 1))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Mistakes_of_the_caller_are_argument_exceptions()
    {
        var block = Block(Layout);
        var encoded = Encoded(block, Layout, default);
        Assert.Throws<ArgumentException>(() => BatchTensorSerializer.Encode(block.AsSpan(1), Layout, new byte[10_000]));
        Assert.Throws<ArgumentException>(() => BatchTensorSerializer.Encode(block, Layout, new byte[encoded.Length - 1]));
        Assert.Throws<ArgumentException>(() => BatchTensorSerializer.Decode(encoded, Layout, new LayerRange(3, 2), new byte[10_000]));
        Assert.Throws<ArgumentException>(
            () => BatchTensorSerializer.Decode(encoded, Layout, new LayerRange(0, 1), new byte[Layout.LayerBytes(0) - 1]));
    }

    [Fact]
    public void The_example_of_the_documentation_holds()
    {
        // docs/serialization.md shows these bytes; whoever changes one changes the other, and the version.
        const string Documented =
            "4B565442 01 06 00 00 850763CF 02000000 00000000 00000000 10000000 7B000000"
            + "40000000 1E000000 02000000 113BCDB6"
            + "5E000000 1D000000 01000000 14B24AC3"
            + "4B56544E 01 06 06 00 01 000000 113BCDB6 02000000 02000000 02000000 AABB"
            + "4B56544E 01 06 06 00 01 000000 14B24AC3 01000000 01000000 01000000 CC";
        var encoded = Encoded([0xAA, 0xBB, 0xCC], KvLayout.Opaque([0, 2, 3], tokensPerBlock: 16), default);
        Assert.Equal(Documented.Replace(" ", ""), Convert.ToHexString(encoded));
    }

    private static void Forge(Span<byte> head)
    {
        var crc = new Crc32();
        crc.Append(head[..8]);
        crc.Append(head[12..]);
        BinaryPrimitives.WriteUInt32LittleEndian(head[8..], crc.GetCurrentHashAsUInt32());
    }

    private static int Offset(byte[] encoded, int layer) =>
        BinaryPrimitives.ReadInt32LittleEndian(encoded.AsSpan(BatchHeader.BytesFor(layer)));

    private static byte[] Block(KvLayout layout)
    {
        var block = new byte[layout.BlockBytes];
        for (var i = 0; i + 4 <= block.Length; i += 4)
            BinaryPrimitives.WriteSingleLittleEndian(block.AsSpan(i), i % 23 * 0.3f);
        return block;
    }

    private static byte[] Encoded(byte[] block, KvLayout layout, TensorEncoding encoding)
    {
        var output = new ArrayBufferWriter<byte>();
        var written = BatchTensorSerializer.Encode(block, layout, output, encoding);
        Assert.Equal(written, output.WrittenCount);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Decoded(byte[] encoded, KvLayout layout, LayerRange range)
    {
        var decoded = new byte[layout.RangeBytes(range)];
        Assert.Equal(decoded.Length, BatchTensorSerializer.Decode(encoded, layout, range, decoded));
        return decoded;
    }
}
