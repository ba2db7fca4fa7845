using System.Buffers.Binary;
using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TensorSerializerHostileInputTests
{
    private static readonly byte[] Tensor = CompressibleTensor();

    private static readonly Gen<TensorEncoding> AnyEncoding =
        Gen.Select(Gen.Enum<ElementEncoding>(), Gen.Enum<TensorCompression>(),
            (elements, compression) => new TensorEncoding(elements, compression));

    [Fact]
    public void A_changed_byte_is_found() =>
        Gen.Select(AnyEncoding, Gen.Int[0, 1_000_000], Gen.Byte[1, 255]).Sample((encoding, position, change) =>
        {
            var encoded = Encoded(encoding);
            encoded[position % encoded.Length] ^= change;
            AssertRefused(encoded);
        }, iter: 2_000);

    [Fact]
    public void A_cut_or_lengthened_tensor_is_refused() =>
        Gen.Select(AnyEncoding, Gen.Int[0, 1_000_000]).Sample((encoding, length) =>
        {
            var encoded = Encoded(encoding);
            AssertRefused(encoded[..(length % encoded.Length)]);
            AssertRefused([.. encoded, 0]);
        }, iter: 500);

    [Fact]
    public void Noise_is_refused() => Gen.Byte.Array[0, 200].Sample(AssertRefused, iter: 2_000);

    [Fact]
    public void A_forged_tensor_gives_the_documented_exception_or_bytes_within_the_bound() =>
        Gen.Select(AnyEncoding, Gen.Int[0, 1_000_000].Array[1, 4], Gen.Byte, Gen.Int[0, 30]).Sample((encoding, positions, value, cut) =>
        {
            var encoded = Encoded(encoding);
            encoded = encoded[..^cut];
            foreach (var position in positions)
                encoded[position % encoded.Length] = value;
            Forge(encoded);
            try
            {
                Assert.InRange(TensorSerializer.Decode(encoded, out _, Tensor.Length).Length, 0, Tensor.Length);
            }
            catch (KvFormatException)
            {
                // The other right answer.
            }
        }, iter: 5_000);

    [Theory]
    [InlineData(TensorCompression.GZip)]
    [InlineData(TensorCompression.Zstd)]
    public void A_bomb_is_refused(TensorCompression compression)
    {
        var zeros = TensorSerializer.Encode(
            new byte[1 << 20], KvDataType.UInt8, new TensorShape(1 << 20), new TensorEncoding(Compression: compression));
        var before = GC.GetAllocatedBytesForCurrentThread();
        var refused = Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(zeros, out _, maxDecodedBytes: 100_000));
        Assert.Contains("1048576", refused.Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 50_000);

        // A header that understates what the payload holds does not get more through.
        BinaryPrimitives.WriteInt32LittleEndian(zeros.AsSpan(24), 100_000);
        BinaryPrimitives.WriteInt32LittleEndian(zeros.AsSpan(16), 100_000);
        Forge(zeros);
        Assert.Contains(
            "more", Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(zeros, out _)).Message, StringComparison.Ordinal);

        // Nor does one that overstates it get stale memory out.
        BinaryPrimitives.WriteInt32LittleEndian(zeros.AsSpan(24), 2 << 20);
        BinaryPrimitives.WriteInt32LittleEndian(zeros.AsSpan(16), 2 << 20);
        Forge(zeros);
        Assert.Contains(
            "fewer", Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(zeros, out _)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Huge_dimensions_are_refused_before_anything_is_allocated()
    {
        var encoded = TensorSerializer.Encode(new byte[4], KvDataType.UInt8, new TensorShape(2, 2));
        foreach (var dimension in new[] { int.MaxValue, int.MinValue, -1, 1 << 30 })
        {
            BinaryPrimitives.WriteInt32LittleEndian(encoded.AsSpan(24), dimension);
            Forge(encoded);
            AssertRefused(encoded);
        }
    }

    [Fact]
    public void A_refusal_leaves_the_output_as_it_was()
    {
        var encoded = Encoded(default);
        encoded[^1] ^= 1;
        var destination = new byte[Tensor.Length];
        Assert.False(TensorSerializer.TryDecode(encoded, destination, out var written, out var reason));
        Assert.Equal(0, written);
        Assert.Contains("CRC-32", reason, StringComparison.Ordinal);
        Assert.All(destination, b => Assert.Equal(0, b));

        var output = new System.Buffers.ArrayBufferWriter<byte>();
        Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(encoded, output));
        Assert.Equal(0, output.WrittenCount);
    }

    [Fact]
    public void A_destination_too_small_is_a_refusal_that_says_so()
    {
        var refused = Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(Encoded(default), new byte[Tensor.Length - 1]));
        Assert.Contains($"at most {Tensor.Length - 1}", refused.Message, StringComparison.Ordinal);
    }

    private static void AssertRefused(byte[] encoded)
    {
        Assert.Throws<KvFormatException>(() => TensorSerializer.Decode(encoded, out _));
        Assert.False(TensorSerializer.TryDecode(encoded, new byte[Tensor.Length], out var written, out var reason));
        Assert.Equal(0, written);
        Assert.NotEmpty(reason);
    }

    private static byte[] Encoded(TensorEncoding encoding) =>
        TensorSerializer.Encode(Tensor, KvDataType.Float32, new TensorShape(2, 8, 16), encoding);

    private static void Forge(byte[] encoded)
    {
        if (encoded.Length >= TensorHeader.FixedBytes)
            BinaryPrimitives.WriteUInt32LittleEndian(encoded.AsSpan(TensorHeader.ChecksumOffset), TensorHeader.Crc(encoded));
    }

    private static byte[] CompressibleTensor()
    {
        var tensor = new byte[4 * 2 * 8 * 16];
        for (var i = 0; i < tensor.Length / 4; i++)
            BinaryPrimitives.WriteSingleLittleEndian(tensor.AsSpan(4 * i), i % 7 * 0.25f);
        return tensor;
    }
}
