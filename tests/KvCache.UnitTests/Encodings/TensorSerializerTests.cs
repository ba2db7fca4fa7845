using System.Buffers;
using System.Runtime.InteropServices;
using CsCheck;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TensorSerializerTests
{
    private static readonly KvDataType[] Types = Enum.GetValues<KvDataType>();

    [Fact]
    public void A_raw_tensor_comes_back_exactly() =>
        Gen.Select(Gen.OneOf(Types), Gen.Int[0, 5].Array[0, TensorShape.MaxRank], Gen.Enum<TensorCompression>(), Gen.Int)
            .Sample((type, dimensions, compression, seed) =>
        {
            var shape = new TensorShape(dimensions);
            var tensor = Bytes(shape.Elements * type.Size(), seed);
            var encoded = TensorSerializer.Encode(tensor, type, shape, new TensorEncoding(Compression: compression));
            var decoded = TensorSerializer.Decode(encoded, out var header, tensor.Length);

            Assert.True(tensor.AsSpan().SequenceEqual(decoded));
            Assert.Equal((type, type, shape), (header.DataType, header.StoredType, header.Shape));
            Assert.Equal(encoded.Length, header.HeaderBytes + header.StoredBytes);
            Assert.True(encoded.Length <= TensorSerializer.MaxEncodedBytes(type, shape));
        }, iter: 300);

    [Theory]
    [InlineData(ElementEncoding.Float16, TensorCompression.None)]
    [InlineData(ElementEncoding.Float16, TensorCompression.GZip)]
    [InlineData(ElementEncoding.Float16, TensorCompression.Zstd)]
    [InlineData(ElementEncoding.BFloat16, TensorCompression.None)]
    [InlineData(ElementEncoding.BFloat16, TensorCompression.GZip)]
    [InlineData(ElementEncoding.BFloat16, TensorCompression.Zstd)]
    public void A_float32_tensor_comes_back_as_the_16_bit_type_rounds_it(ElementEncoding elements, TensorCompression compression) =>
        Gen.Float[-100, 100].Array[1, 5_000].Sample(singles =>
        {
            // Half of it constant, so that compression has something to find.
            singles.AsSpan(singles.Length / 2).Fill(0.1f);
            var encoded =
                TensorSerializer.Encode(
                MemoryMarshal.AsBytes(singles.AsSpan()), KvDataType.Float32, new TensorShape(singles.Length),
                new TensorEncoding(elements, compression));
            var decoded = new float[singles.Length];
            TensorSerializer.Decode(encoded, MemoryMarshal.AsBytes(decoded.AsSpan()));

            var narrow = new byte[singles.Length * 2];
            var stored = elements == ElementEncoding.Float16 ? KvDataType.Float16 : KvDataType.BFloat16;
            ElementConversion.Narrow(MemoryMarshal.AsBytes(singles.AsSpan()), stored, narrow);
            var expected = new float[singles.Length];
            ElementConversion.Widen(narrow, stored, MemoryMarshal.AsBytes(expected.AsSpan()));
            Assert.Equal(expected, decoded);
            Assert.Equal(stored, TensorSerializer.ReadHeader(encoded).StoredType);
        }, iter: 30);

    [Theory]
    [InlineData(TensorCompression.GZip, 1)]
    [InlineData(TensorCompression.GZip, 9)]
    [InlineData(TensorCompression.Zstd, 1)]
    [InlineData(TensorCompression.Zstd, 19)]
    public void Compression_shrinks_what_repeats(TensorCompression compression, int level)
    {
        var tensor = new byte[100_000];
        Bytes(1_000, 1).CopyTo(tensor.AsSpan(40_000));
        var encoded =
            TensorSerializer.Encode(
            tensor, KvDataType.UInt8, new TensorShape(100, 1_000), new TensorEncoding(Compression: compression, Level: level));

        Assert.InRange(encoded.Length, 1_000, 2_500);
        Assert.Equal(tensor, TensorSerializer.Decode(encoded, out var header));
        Assert.Equal(compression, header.Compression);
    }

    [Theory]
    [InlineData(TensorCompression.GZip)]
    [InlineData(TensorCompression.Zstd)]
    public void What_does_not_shrink_is_stored_uncompressed(TensorCompression compression)
    {
        var tensor = Bytes(200_000, 7);
        var encoded =
            TensorSerializer.Encode(tensor, KvDataType.UInt8, new TensorShape(tensor.Length), new TensorEncoding(Compression: compression));

        Assert.Equal(TensorCompression.None, TensorSerializer.ReadHeader(encoded).Compression);
        Assert.Equal(28 + tensor.Length, encoded.Length);
        Assert.Equal(tensor, TensorSerializer.Decode(encoded, out _));
    }

    [Fact]
    public void Span_writer_and_array_give_the_same_bytes()
    {
        var tensor = Bytes(4 * 96, 3);
        var shape = new TensorShape(2, 48);
        var encoding = new TensorEncoding(ElementEncoding.BFloat16, TensorCompression.Zstd);
        var array = TensorSerializer.Encode(tensor, KvDataType.Float32, shape, encoding);
        var writer = new ArrayBufferWriter<byte>();
        writer.Write("before"u8);
        var written = TensorSerializer.Encode(tensor, KvDataType.Float32, shape, writer, encoding);

        Assert.Equal(array.Length, written);
        Assert.Equal(array, writer.WrittenSpan[6..].ToArray());

        var output = new ArrayBufferWriter<byte>();
        Assert.Equal(tensor.Length, TensorSerializer.Decode(array, output));
        Assert.Equal(TensorSerializer.Decode(array, out _), output.WrittenSpan.ToArray());
    }

    [Fact]
    public void The_example_of_the_documentation_holds()
    {
        // docs/serialization.md shows these bytes; whoever changes one changes the other, and the version.
        const string Documented =
            "4B56544E 01 01 03 00 02 000000 0ACE1627 10000000 08000000 02000000 02000000"
            + "803F 00C0 E03F C07F";
        float[] tensor = [1f, -2f, 1.75f, BitConverter.UInt32BitsToSingle(0x7F800001)];
        var encoded =
            TensorSerializer.Encode(
            MemoryMarshal.AsBytes(tensor.AsSpan()), KvDataType.Float32, new TensorShape(2, 2),
            new TensorEncoding(ElementEncoding.BFloat16));

        Assert.Equal(Documented.Replace(" ", ""), Convert.ToHexString(encoded));
        Assert.Equal([1f, -2f, 1.75f, float.NaN], MemoryMarshal.Cast<byte, float>(TensorSerializer.Decode(encoded, out _)).ToArray());
    }

    [Fact]
    public void Mistakes_of_the_caller_are_argument_exceptions()
    {
        var tensor = new byte[16];
        Assert.Throws<ArgumentException>(() => TensorSerializer.Encode(tensor, KvDataType.Float32, new TensorShape(5)));
        Assert.Throws<ArgumentException>(() => TensorSerializer.Encode(tensor, KvDataType.Float32, new TensorShape(4), new byte[20]));
        Assert.Throws<ArgumentException>(
            () => TensorSerializer.Encode(tensor, KvDataType.UInt8, new TensorShape(16), new TensorEncoding(ElementEncoding.Float16)));
        Assert.Throws<ArgumentException>(
            () => TensorSerializer.Encode(tensor, KvDataType.Float16, new TensorShape(8), new TensorEncoding(ElementEncoding.BFloat16)));
        Assert.Throws<ArgumentException>(
            () => TensorSerializer.Encode(
            tensor, KvDataType.UInt8, new TensorShape(16), new TensorEncoding(Compression: TensorCompression.GZip, Level: 10)));
        Assert.Throws<ArgumentException>(() => new TensorShape(1, 1, 1, 1, 1, 1, 1, 1, 1));
        Assert.Throws<ArgumentException>(() => new TensorShape(-1));
        Assert.Throws<ArgumentException>(() => new TensorShape(1 << 20, 1 << 20));
        Assert.Throws<ArgumentOutOfRangeException>(() => TensorSerializer.MaxEncodedBytes(KvDataType.Float32, new TensorShape(1 << 30)));
    }

    [Fact]
    public void An_encoding_of_the_tensors_own_type_changes_nothing()
    {
        var tensor = Bytes(64, 5);
        var encoded = TensorSerializer.Encode(tensor, KvDataType.Float16, new TensorShape(32), new TensorEncoding(ElementEncoding.Float16));
        Assert.Equal(tensor, TensorSerializer.Decode(encoded, out _));
    }

    [Fact]
    public void A_scalar_and_an_empty_tensor_have_shapes_too()
    {
        Assert.Equal(1, default(TensorShape).Elements);
        Assert.Equal(default, new TensorShape());
        Assert.Equal(0, new TensorShape(int.MaxValue, int.MaxValue, 0).Elements);
        Assert.NotEqual(new TensorShape(0), default);
        Assert.Equal("[2, 3]", new TensorShape(2, 3).ToString());
        Assert.Equal(3, new TensorShape(2, 3)[1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => new TensorShape(2, 3)[2]);
    }

    [Fact]
    public void Decoding_into_the_callers_memory_allocates_nothing()
    {
        var encoded =
            TensorSerializer.Encode(
            Bytes(4 * 4096, 9), KvDataType.Float32, new TensorShape(4096), new TensorEncoding(ElementEncoding.BFloat16));
        var destination = new byte[4 * 4096];
        Assert.True(TensorSerializer.TryDecode(encoded, destination, out _, out _));
        // The running CRC is one small object.
        Assert.InRange(
            Allocations.Of(() => Assert.True(TensorSerializer.TryDecode(encoded, destination, out _, out _))), 0, 64);
    }

    internal static byte[] Bytes(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
