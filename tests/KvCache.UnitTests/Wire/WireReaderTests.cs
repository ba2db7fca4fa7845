using CsCheck;
using KvCache.Binary;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class WireReaderTests
{
    private delegate void Read(ref WireReader reader);

    [Fact]
    public void Fields_are_read_as_they_were_written() =>
        Gen.Select(Gen.Select(Gen.Byte, Gen.UShort, Gen.UInt, Gen.ULong), Gen.String[Gen.Char['\0', '\uD7FF'], 0, 20],
            Gen.Byte.Array[32].Array[0, 3]).Sample((numbers, text, hashes) =>
        {
            var writer = new WireWriter(capacity: 0);
            writer.UInt8(numbers.Item1);
            writer.UInt16(numbers.Item2);
            writer.UInt32(numbers.Item3);
            writer.UInt64(numbers.Item4);
            writer.Text(text);
            writer.Hashes(Array.ConvertAll(hashes, bytes => new BlockHash(bytes)));

            var reader = new WireReader(writer.Written);
            Assert.Equal(numbers, (reader.UInt8(), reader.UInt16(), reader.UInt32(), reader.UInt64()));
            Assert.Equal(text, reader.Text(1000, "text"));
            foreach (var hash in reader.Hashes(hashes.Length))
                Assert.Contains(hashes, bytes => new BlockHash(bytes) == hash);
            reader.End();
        });

    [Fact]
    public void A_message_that_ends_too_early_is_refused_wherever_it_ends() =>
        Gen.Byte.Array[0, 40].Sample(bytes =>
        {
            Check(1, (ref WireReader reader) => reader.UInt8());
            Check(2, (ref WireReader reader) => reader.UInt16());
            Check(4, (ref WireReader reader) => reader.UInt32());
            Check(8, (ref WireReader reader) => reader.UInt64());
            Check(7, (ref WireReader reader) => reader.Bytes(7));
            Check(BlockHash.Size, (ref WireReader reader) => reader.Hashes(1));

            void Check(int size, Read read)
            {
                var reader = new WireReader(bytes);
                if (bytes.Length >= size)
                {
                    read(ref reader);
                    Assert.Equal(bytes.Length - size, reader.Remaining);
                }
                else
                {
                    Refused(bytes, read);
                }
            }
        });

    [Fact]
    public void Hostile_counts_are_refused() =>
        Gen.Select(Gen.OneOf(Gen.Int[1, 100], Gen.Int), Gen.Byte.Array[0, 70]).Sample((count, bytes) =>
        {
            if (count < 0 || count > bytes.Length)
                Refused(bytes, (ref WireReader reader) => reader.Bytes(count));
            if (count < 0 || count > bytes.Length / BlockHash.Size)
                Refused(bytes, (ref WireReader reader) => reader.Hashes(count));
        });

    [Fact]
    public void A_count_over_its_limit_is_refused_by_name() =>
        Gen.Select(Gen.UInt, Gen.Int[0, int.MaxValue]).Sample((value, max) =>
        {
            var writer = new WireWriter();
            writer.UInt32(value);
            var reader = new WireReader(writer.Written);
            if (value <= max)
                Assert.Equal((int)value, reader.Count(max, "blocks"));
            else
                Assert.Contains(
                    "'blocks'", Refused(writer.Written.ToArray(), (ref WireReader other) => other.Count(max, "blocks")).Message,
                    StringComparison.Ordinal);
        });

    [Fact]
    public void Text_that_is_no_utf8_or_too_long_is_refused()
    {
        Refused([2, 0, 0xC3, 0x28], (ref WireReader reader) => reader.Text(10, "tenant"));
        Refused([3, 0, 0xED, 0xA0, 0x80], (ref WireReader reader) => reader.Text(10, "tenant"));
        Refused([3, 0, 65, 65, 65], (ref WireReader reader) => reader.Text(2, "tenant"));
        Refused([4, 0, 65, 65, 65], (ref WireReader reader) => reader.Text(10, "tenant"));
        Refused([255], (ref WireReader reader) => reader.Text(10, "tenant"));
    }

    [Fact]
    public void Bytes_too_many_are_refused() => Refused([1, 2], (ref WireReader reader) =>
    {
        reader.UInt8();
        reader.End();
    });

    [Fact]
    public void A_text_longer_than_its_length_field_is_an_error() =>
        Assert.Throws<ArgumentException>(() => new WireWriter().Text(new string('a', 65_536)));

    [Fact]
    public void A_writer_starts_again_and_keeps_its_buffer()
    {
        var writer = new WireWriter();
        writer.Bytes(new byte[1000]);
        Assert.Equal(0, Allocations.Of(() =>
        {
            writer.Reset();
            writer.Take(1000);
        }));
    }

    private static KvFormatException Refused(byte[] bytes, Read read) => Assert.Throws<KvFormatException>(() =>
    {
        var reader = new WireReader(bytes);
        read(ref reader);
    });
}
