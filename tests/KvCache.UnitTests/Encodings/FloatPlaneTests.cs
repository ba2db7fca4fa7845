using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using CsCheck;
using KvCache.Checksums;
using KvCache.Encodings.Planes;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed unsafe class FloatPlaneTests
{
    private static readonly TensorEncoding Planes = new(Compression: TensorCompression.FloatPlanes);

    private static readonly Gen<KvDataType> Types = Gen.OneOf(KvDataType.Float16, KvDataType.BFloat16);

    private static readonly ushort[] Specials =
        [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0xFFFF, 0x7F81, 0x0001, 0x8001, 0x007F, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0x03FF,
            0x3F80, 0x3C00];

    // Any bits; few values, NaNs, infinities and denormals among them; one value; what activations look like.
    private static readonly Gen<ushort[]> Elements = Gen.OneOf(
        Gen.UShort.Array[0, 3_000],
        Gen.OneOf(Specials.Select(Gen.Const).ToArray()).Array[0, 3_000],
        Gen.Select(Gen.UShort, Gen.Int[0, 3_000], (value, count) => Enumerable.Repeat(value, count).ToArray()),
        Gen.Select(Gen.Int[0, 1_000], Gen.Int[0, 9_000], (seed, count) => Normal(count, seed)));

    [Fact]
    public void Elements_come_back_bit_by_bit() => Gen.Select(Elements, Types).Sample((elements, type) =>
    {
        var tensor = MemoryMarshal.AsBytes(elements.AsSpan());
        var encoded = TensorSerializer.Encode(tensor, type, new TensorShape(elements.Length), Planes);
        Assert.True(encoded.Length <= TensorSerializer.MaxEncodedBytes(type, new TensorShape(elements.Length)));
        Assert.True(tensor.SequenceEqual(TensorSerializer.Decode(encoded, out var header)));
        Assert.Equal((type, type), (header.DataType, header.StoredType));
    }, iter: 500);

    [Fact]
    public void Every_length_comes_back()
    {
        var all = Normal(700, 3);
        for (var count = 0; count <= all.Length; count++)
            RoundTrip(all.AsSpan(0, count), Math.Max(1, count / 2));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(4_097)]
    [InlineData(65_536)]
    public void Every_size_of_chunk_comes_back(int chunk)
    {
        var all = Normal(131_075, 4);
        foreach (var count in new[] { 1, chunk - 1, chunk, chunk + 1, (2 * chunk) - 1, (2 * chunk) + 3 })
            RoundTrip(all.AsSpan(0, count), chunk);
    }

    [Theory]
    [InlineData(KvDataType.BFloat16, 0.69)]
    [InlineData(KvDataType.Float16, 0.88)]
    public void Activations_shrink_to_almost_the_entropy_of_their_planes(KvDataType type, double most)
    {
        var elements = Normal(65_536, 5, type);
        var (upper, lower) = (new byte[elements.Length], new byte[elements.Length]);
        FloatPlanes.Split(MemoryMarshal.AsBytes(elements.AsSpan()), upper, lower);
        var bound = lower.Length
            + (upper.CountBy(value => value).Sum(pair => -pair.Value * Math.Log2((double)pair.Value / upper.Length)) / 8);

        var encoded = TensorSerializer.Encode(MemoryMarshal.AsBytes(elements.AsSpan()), type, new TensorShape(elements.Length), Planes);

        Assert.Equal(TensorCompression.FloatPlanes, TensorSerializer.ReadHeader(encoded).Compression);
        Assert.InRange(encoded.Length, bound, 1.02 * bound);
        Assert.InRange(encoded.Length / (2.0 * elements.Length), 0, most);
    }

    [Fact]
    public void Both_planes_are_coded_where_both_are_uneven()
    {
        var elements = Normal(20_000, 6);
        for (var i = 0; i < elements.Length; i++)
            elements[i] &= 0xFFF0;
        var payload = new byte[elements.Length * 2];
        var written = FloatPlaneCodec.Compress(MemoryMarshal.AsBytes(elements.AsSpan()), payload, elements.Length);
        Assert.InRange(written, 1, elements.Length * 9 / 8);
        RoundTrip(elements, elements.Length);
        RoundTrip(elements, 3_000);
    }

    [Fact]
    public void Noise_and_other_types_are_stored_as_they_are()
    {
        var noise = TensorSerializerTests.Bytes(100_000, 7);
        foreach (var (type, size) in new[] { (KvDataType.BFloat16, 2), (KvDataType.UInt8, 1), (KvDataType.Float32, 4) })
        {
            var encoded = TensorSerializer.Encode(noise, type, new TensorShape(noise.Length / size), Planes);
            Assert.Equal(TensorCompression.None, TensorSerializer.ReadHeader(encoded).Compression);
            Assert.Equal(noise, TensorSerializer.Decode(encoded, out _));
        }

        var zeros = TensorSerializer.Encode(new byte[100_000], KvDataType.UInt8, new TensorShape(100_000), Planes);
        Assert.Equal(100_028, zeros.Length);
    }

    [Fact]
    public void Keys_and_values_have_chunks_of_their_own()
    {
        Assert.Equal(32_768, FloatPlaneCodec.ChunkElements(new TensorShape(2, 256, 4, 32)));
        Assert.Equal(65_536, FloatPlaneCodec.ChunkElements(new TensorShape(2, 256, 8, 128)));
        Assert.Equal(2_048, FloatPlaneCodec.ChunkElements(new TensorShape(2, 16, 2, 32)));
        Assert.Equal(50_000, FloatPlaneCodec.ChunkElements(new TensorShape(100_000)));
        Assert.Equal(65_536, FloatPlaneCodec.ChunkElements(new TensorShape(1_000_003)));
        Assert.Equal(1, FloatPlaneCodec.ChunkElements(new TensorShape(0)));
    }

    [Fact]
    public void Frequencies_add_up_and_leave_nobody_out() =>
        Gen.Select(Gen.Int[0, 60_000].Array[256], Gen.Int[2, 256]).Sample((values, symbols) =>
    {
        // Few large counts and many small ones: squares of squares.
        var counts = values.Select((value, i) => i < symbols ? 1 + (int)((long)value * value / 60_000 * value / 60_000) : 0).ToArray();
        var frequencies = new ushort[256];
        FrequencyTable.Scale(counts, counts.Sum(), frequencies);
        Assert.Equal(FrequencyTable.Total, frequencies.Sum(frequency => frequency));
        Assert.All(counts.Zip(frequencies), pair => Assert.Equal(pair.First > 0, pair.Second > 0));

        var bytes = new byte[FrequencyTable.MaxBytes];
        var written = FrequencyTable.Write(frequencies, bytes);
        var read = new ushort[256];
        Assert.Equal(written, FrequencyTable.Read(bytes.AsSpan(0, written), read));
        Assert.Equal(frequencies, read);
        Assert.Equal(0, FrequencyTable.Read(bytes.AsSpan(0, written - 1), read));
    }, iter: 300);

    [Fact]
    public void All_instruction_sets_write_and_read_the_same_bytes() =>
        Elements.Where(elements => elements.Distinct().Count() > 1).Sample(elements =>
    {
        var bytes = MemoryMarshal.AsBytes(elements.AsSpan());
        var (upper, lower, upperScalar, lowerScalar) =
            (new byte[elements.Length], new byte[elements.Length], new byte[elements.Length], new byte[elements.Length]);
        FloatPlanes.Split(bytes, upper, lower);
        FloatPlanes.SplitScalar(bytes, upperScalar, lowerScalar, 0);
        Assert.True(upperScalar.AsSpan().SequenceEqual(upper) && lowerScalar.AsSpan().SequenceEqual(lower));
        var (joined, joinedScalar) = (new byte[bytes.Length], new byte[bytes.Length]);
        FloatPlanes.Join(upper, lower, joined);
        FloatPlanes.JoinScalar(upper, lower, joinedScalar, 0);
        Assert.True(bytes.SequenceEqual(joined) && bytes.SequenceEqual(joinedScalar));

        foreach (var plane in new[] { upper, lower })
            AssertCodersAgree(plane);
    }, iter: 300);

    [Fact]
    public void Changed_bytes_never_harm_more_than_the_elements() =>
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, 1_000_000].Array[1, 4], Gen.Byte, Gen.Int[0, 40]).Sample((which, positions, value, cut) =>
        {
            var payload = Payloads[which].AsSpan(0, Math.Max(0, Payloads[which].Length - cut)).ToArray();
            foreach (var position in positions)
            {
                // Half of the changes in the first 300 bytes, where tables and states are.
                if (payload.Length > 0)
                    payload[position % (position % 2 == 0 ? payload.Length : Math.Min(payload.Length, 300))] = value;
            }

            var guarded = new byte[(2 * HostileElements) + 64];
            guarded.AsSpan(2 * HostileElements).Fill(0xA5);
            var reason = FloatPlaneCodec.Decompress(payload, guarded.AsSpan(0, 2 * HostileElements));
            Assert.NotEqual("", reason);
            Assert.False(guarded.AsSpan(2 * HostileElements).ContainsAnyExcept((byte)0xA5));
        }, iter: 20_000);

    [Fact]
    public void Every_cut_is_refused()
    {
        foreach (var payload in Payloads)
        {
            for (var length = 0; length < payload.Length; length += length < 400 ? 1 : 37)
                Assert.NotNull(FloatPlaneCodec.Decompress(payload.AsSpan(0, length), new byte[2 * HostileElements]));
            Assert.Contains("end at", FloatPlaneCodec.Decompress([.. payload, 0], new byte[2 * HostileElements]), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(65_537)]
    public void A_chunk_of_a_forbidden_size_is_refused(int chunk)
    {
        var payload = Payloads[0].ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(payload, chunk);
        Assert.Contains(
            "expected 1 to 65536", FloatPlaneCodec.Decompress(payload, new byte[2 * HostileElements]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_header_of_a_type_without_planes_is_refused()
    {
        var encoded = TensorSerializer.Encode(new byte[64], KvDataType.BFloat16, new TensorShape(32), Planes);
        Assert.Equal(TensorCompression.FloatPlanes, TensorSerializer.ReadHeader(encoded).Compression);
        encoded[5] = encoded[6] = (byte)KvDataType.UInt8;
        BinaryPrimitives.WriteInt32LittleEndian(encoded.AsSpan(16), 32);
        Assert.Contains(
            "16-bit floats", Assert.Throws<KvFormatException>(() => TensorSerializer.ReadHeader(encoded)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_level_is_refused() =>
        Assert.Throws<ArgumentException>(
            () => TensorSerializer.Encode(new byte[4], KvDataType.BFloat16, new TensorShape(2), Planes with { Level = 1 }));

    [Fact]
    public void Encoding_and_decoding_into_given_memory_allocate_nothing()
    {
        var tensor = MemoryMarshal.AsBytes(Normal(40_000, 8).AsSpan()).ToArray();
        var shape = new TensorShape(2, 100, 200);
        var encoded = new byte[TensorSerializer.MaxEncodedBytes(KvDataType.BFloat16, shape, Planes)];
        var decoded = new byte[tensor.Length];
        var written = 0;
        void Once()
        {
            written = TensorSerializer.Encode(tensor, KvDataType.BFloat16, shape, encoded, Planes);
            Assert.True(TensorSerializer.TryDecode(encoded.AsSpan(0, written), decoded, out _, out _));
        }

        // The least of several runs: a collection that another test causes empties the pool.
        Assert.InRange(Allocations.Of(Once), 0, 256);
        Assert.True(written < tensor.Length * 3 / 4);
        Assert.Equal(tensor, decoded);
    }

    [Fact]
    public void The_examples_of_the_documentation_hold()
    {
        // docs/serialization.md shows these; whoever changes one changes the other, and the number of the compression.
        const string Documented = "4B56544E 01 03 03 03 01 000000 6BB6781D 10000000 08000000 08000000 08000000 01 7F 01 00";
        var ones = MemoryMarshal.AsBytes(Enumerable.Repeat((ushort)0x3F80, 8).ToArray().AsSpan());
        var encoded = TensorSerializer.Encode(ones, KvDataType.BFloat16, new TensorShape(8), Planes);
        Assert.Equal(Documented.Replace(" ", ""), Convert.ToHexString(encoded));

        var elements = Enumerable.Range(0, 10_000).Select(i => (ushort)((0x3F80 - ((i * i % 7) << 7)) | ((i * 37) & 127))).ToArray();
        var payload = new byte[20_000];
        var written = FloatPlaneCodec.Compress(MemoryMarshal.AsBytes(elements.AsSpan()), payload, 10_000);
        Assert.Equal("11590, 06B0F526", $"{written}, {BlockChecksum.Compute(payload.AsSpan(0, written)):X8}");
    }

    private const int HostileElements = 3_000;

    // Coded and raw planes; both coded; several chunks; constant planes.
    private static readonly byte[][] Payloads = [.. new (ushort[] Elements, int Chunk)[]
    {
        (Normal(HostileElements, 9), HostileElements),
        ([.. Normal(HostileElements, 10).Select(bits => (ushort)(bits & 0xFFE0))], HostileElements),
        (Normal(HostileElements, 11), 1_100),
        ([.. Enumerable.Repeat((ushort)0x3F80, HostileElements)], 1_000),
    }.Select(c =>
    {
        var payload = new byte[2 * HostileElements];
        return payload[..FloatPlaneCodec.Compress(MemoryMarshal.AsBytes(c.Elements.AsSpan()), payload, c.Chunk)];
    })];

    private static void AssertCodersAgree(byte[] plane)
    {
        var (counts, frequencies) = (new int[256], new ushort[256]);
        FrequencyTable.Count(plane, counts);
        if (counts.Count(count => count > 0) < 2)
            return;
        FrequencyTable.Scale(counts, plane.Length, frequencies);
        var (encoding, decoding) = (new uint[256], new uint[FrequencyTable.Total + FrequencyTable.Slack]);
        FrequencyTable.BuildEncoding(frequencies, encoding);
        FrequencyTable.BuildDecoding(frequencies, decoding);

        var (words, other) = (new ushort[plane.Length + RansEncoder.Slack], new ushort[plane.Length + RansEncoder.Slack]);
        var (states, otherStates) = (new uint[RansDecoder.Lanes], new uint[RansDecoder.Lanes]);
        fixed (uint* table = encoding, slots = decoding, first = states, second = otherStates)
        fixed (ushort* start = words, otherStart = other)
        {
            var end = start + words.Length;
            var at = RansEncoder.EncodeScalar(plane, table, first, end);
            if (Avx512BW.IsSupported)
            {
                var otherAt = RansEncoder.EncodeWidest(plane, table, second, otherStart + other.Length);
                Assert.Equal(end - at, otherStart + other.Length - otherAt);
                Assert.True(new Span<ushort>(at, (int)(end - at)).SequenceEqual(new Span<ushort>(otherAt, (int)(end - at))));
                Assert.Equal(states, otherStates);
            }

            foreach (var way in new[] { 0, 1, 2 })
            {
                var (copy, decoded) = ((uint[])states.Clone(), new byte[plane.Length]);
                fixed (uint* lanes = copy)
                {
                    var right = way switch
                    {
                        1 when Avx2.IsSupported => RansDecoder.DecodeWide((byte*)at, (byte*)end, (byte*)end, lanes, slots, decoded),
                        2 when Avx512BW.IsSupported => RansDecoder.DecodeWidest((byte*)at, (byte*)end, (byte*)end, lanes, slots, decoded),
                        _ => RansDecoder.DecodeScalar((byte*)at, (byte*)end, lanes, slots, decoded, 0),
                    };
                    Assert.True(right);
                }

                Assert.True(plane.AsSpan().SequenceEqual(decoded));
            }
        }
    }

    private static void RoundTrip(ReadOnlySpan<ushort> elements, int chunk)
    {
        var bytes = MemoryMarshal.AsBytes(elements);
        var payload = new byte[bytes.Length + 100 + (10 * (elements.Length / chunk))];
        var written = FloatPlaneCodec.Compress(bytes, payload, chunk);
        var decoded = new byte[bytes.Length];
        Assert.Null(FloatPlaneCodec.Decompress(payload.AsSpan(0, written), decoded));
        Assert.True(bytes.SequenceEqual(decoded));
    }

    private static ushort[] Normal(int count, int seed, KvDataType type = KvDataType.BFloat16)
    {
        var random = new Random(seed);
        var singles = new float[count];
        foreach (ref var single in singles.AsSpan())
            single = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble()));
        var elements = new ushort[count];
        ElementConversion.Narrow(MemoryMarshal.AsBytes(singles.AsSpan()), type, MemoryMarshal.AsBytes(elements.AsSpan()));
        return elements;
    }
}
