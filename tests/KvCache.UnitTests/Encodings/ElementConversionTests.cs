using System.Runtime.InteropServices;
using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ElementConversionTests
{
    // Any bit pattern: NaNs with every payload, infinities and denormals are as likely as they are among all floats.
    private static readonly Gen<float[]> AnyFloats = Gen.UInt.Select(BitConverter.UInt32BitsToSingle).Array[0, 100];

    private static readonly float[] Specials =
    [
        0f, -0f, float.NaN, -float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.Epsilon, -float.Epsilon,
        float.MaxValue, float.MinValue, 1f, 65504f, 65519.996f, 65520f, 5.9604645e-8f, 2.9802322e-8f,
        Bits(0x7F800001), Bits(0xFF800001), Bits(0x7FBFFFFF), Bits(0x7FFFFFFF), Bits(0x007FFFFF), Bits(0x00800000),
        Bits(0x3F808000), Bits(0x3F818000), Bits(0x3F808001), Bits(0x3F807FFF), Bits(0x7F7F8000),
    ];

    [Fact]
    public void Every_bfloat16_survives_the_way_to_float32_and_back()
    {
        var all = Enumerable.Range(0, 65536).Select(i => (ushort)i).ToArray();
        var singles = new float[all.Length];
        var back = new ushort[all.Length];
        ElementConversion.BFloat16ToSingle(all, singles);
        ElementConversion.SingleToBFloat16(singles, back);

        for (var i = 0; i < all.Length; i++)
        {
            Assert.Equal((uint)i << 16, BitConverter.SingleToUInt32Bits(singles[i]));
            Assert.Equal(float.IsNaN(singles[i]) ? (ushort)(i | 0x40) : (ushort)i, back[i]);
        }
    }

    [Fact]
    public void Every_float16_survives_the_way_to_float32_and_back()
    {
        var all = Enumerable.Range(0, 65536).Select(i => (ushort)i).ToArray();
        var singles = new float[all.Length];
        var back = new ushort[all.Length];
        ElementConversion.Widen(MemoryMarshal.AsBytes(all.AsSpan()), KvDataType.Float16, MemoryMarshal.AsBytes(singles.AsSpan()));
        ElementConversion.Narrow(MemoryMarshal.AsBytes(singles.AsSpan()), KvDataType.Float16, MemoryMarshal.AsBytes(back.AsSpan()));

        for (var i = 0; i < all.Length; i++)
        {
            var scalar = (float)BitConverter.UInt16BitsToHalf(all[i]);
            AssertSame(scalar, singles[i]);
            AssertSameHalf(all[i], back[i]);
        }
    }

    [Fact]
    public void Float32_rounds_as_the_scalar_references_do() => AnyFloats.Sample(Check, iter: 5_000);

    [Fact]
    public void Special_values_round_as_the_scalar_references_do()
    {
        // At every position of a vector, and in the tail behind it.
        for (var shift = 0; shift < 40; shift++)
            Check([.. Enumerable.Repeat(1.5f, shift), .. Specials]);
    }

    [Fact]
    public void Nan_stays_nan_even_when_its_payload_is_in_the_lost_half()
    {
        var narrow = new ushort[1];
        ElementConversion.SingleToBFloat16([Bits(0xFF800001)], narrow);
        Assert.Equal(0xFFC0, narrow[0]);
    }

    [Fact]
    public void Widening_in_place_equals_widening_aside() =>
        Gen.Select(Gen.UShort.Array[0, 5_000], Gen.OneOf(KvDataType.Float16, KvDataType.BFloat16)).Sample((narrow, type) =>
        {
            var source = MemoryMarshal.AsBytes(narrow.AsSpan());
            var aside = new byte[source.Length * 2];
            ElementConversion.Widen(source, type, aside);
            var inPlace = new byte[source.Length * 2];
            source.CopyTo(inPlace.AsSpan(source.Length));
            ElementConversion.WidenInPlace(inPlace, type);
            Assert.True(aside.AsSpan().SequenceEqual(inPlace));
        });

    [Fact]
    public void A_short_destination_is_refused()
    {
        Assert.Throws<ArgumentException>(() => ElementConversion.SingleToBFloat16([1f, 2f], new ushort[1]));
        Assert.Throws<ArgumentException>(() => ElementConversion.BFloat16ToSingle([1, 2], new float[1]));
    }

    private static void Check(float[] singles)
    {
        var narrow = new ushort[singles.Length];
        ElementConversion.SingleToBFloat16(singles, narrow);
        for (var i = 0; i < singles.Length; i++)
            Assert.Equal(ReferenceBFloat16(singles[i]), narrow[i]);

        ElementConversion.Narrow(MemoryMarshal.AsBytes(singles.AsSpan()), KvDataType.Float16, MemoryMarshal.AsBytes(narrow.AsSpan()));
        for (var i = 0; i < singles.Length; i++)
            AssertSameHalf(BitConverter.HalfToUInt16Bits((Half)singles[i]), narrow[i]);
    }

    /// <summary>The nearer of the two neighbours by exact arithmetic; the even one of a tie.</summary>
    private static ushort ReferenceBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return (ushort)((bits >> 16) | 0x40);
        var down = (ushort)(bits >> 16);
        if (float.IsInfinity(value))
            return down;
        var up = (ushort)(down + 1);
        // Beyond the largest finite value the next step counts as 2^128, though its bits are infinity's.
        double upper = (up & 0x7FFF) == 0x7F80 ? Math.CopySign(Math.Pow(2, 128), value) : Bits((uint)up << 16);
        var (toDown, toUp) = (Math.Abs((double)value - Bits((uint)down << 16)), Math.Abs(upper - value));
        return toDown < toUp || (toDown == toUp && (down & 1) == 0) ? down : up;
    }

    private static float Bits(uint bits) => BitConverter.UInt32BitsToSingle(bits);

    private static void AssertSame(float expected, float actual)
    {
        if (!float.IsNaN(expected) || !float.IsNaN(actual))
            Assert.Equal(BitConverter.SingleToUInt32Bits(expected), BitConverter.SingleToUInt32Bits(actual));
    }

    private static void AssertSameHalf(ushort expected, ushort actual)
    {
        if (!Half.IsNaN(BitConverter.UInt16BitsToHalf(expected)) || !Half.IsNaN(BitConverter.UInt16BitsToHalf(actual)))
            Assert.Equal(expected, actual);
    }
}
