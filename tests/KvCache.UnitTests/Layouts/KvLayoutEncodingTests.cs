using CsCheck;
using KvCache.Binary;
using Xunit;

namespace KvCache.UnitTests;

public sealed class KvLayoutEncodingTests
{
    [Fact]
    public void A_layout_comes_back_and_what_follows_it_is_left() =>
        Gen.Select(KvLayoutTests.Any, Gen.Byte.Array[0, 5]).Sample((layout, rest) =>
        {
            var encoded = Encode(layout);
            Assert.Equal(layout.EncodedBytes, encoded.Length);
            var reader = new WireReader([.. encoded, .. rest]);
            Assert.Equal(layout, KvLayout.Read(ref reader));
            Assert.Equal(rest.Length, reader.Remaining);
        });

    [Fact]
    public void The_longest_encoding_is_that_of_an_opaque_layout_with_the_most_layers()
    {
        var layout = KvLayout.Opaque([.. Enumerable.Range(0, KvLayout.MaxLayers + 1)], 1);
        Assert.Equal(KvLayout.MaxEncodedBytes, Encode(layout).Length);
    }

    [Fact]
    public void An_encoding_that_breaks_off_is_an_error() =>
        Gen.Select(KvLayoutTests.Any, Gen.Int[0, 1000]).Sample((layout, length) =>
        {
            var encoded = Encode(layout);
            Assert.Throws<KvFormatException>(() => Decode(encoded[..(length % encoded.Length)]));
        });

    [Fact]
    public void A_changed_byte_gives_another_layout_or_an_error() =>
        Gen.Select(KvLayoutTests.Any, Gen.Int[0, 1000], Gen.Byte[1, 255]).Sample((layout, position, change) =>
        {
            var encoded = Encode(layout);
            encoded[position % encoded.Length] ^= change;
            try
            {
                Assert.NotEqual(layout, Decode(encoded));
            }
            catch (KvFormatException)
            {
                // Out of its bounds.
            }
        });

    private static byte[] Encode(KvLayout layout)
    {
        var writer = new WireWriter();
        layout.WriteTo(writer);
        return writer.Written.ToArray();
    }

    private static KvLayout Decode(byte[] encoded)
    {
        var reader = new WireReader(encoded);
        return KvLayout.Read(ref reader);
    }
}
