using System.Buffers.Binary;
using CsCheck;
using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.UnitTests.Wire;
using Xunit;

namespace KvCache.UnitTests;

public sealed class FrameHeaderTests
{
    [Fact]
    public void What_is_written_is_parsed() =>
        SentFrame.Any.Sample(sent =>
        {
            var bytes = sent.Encode();
            var header = FrameHeader.Parse(bytes, WireProtocol.MaxMetaBytes, long.MaxValue);
            Assert.Equal(
                (sent.Type, sent.Status, sent.RequestId, sent.Meta.Length, sent.PayloadLength),
                (header.Type, header.Status, header.RequestId, header.MetaLength, header.PayloadLength));
            header.Verify(bytes);
        });

    [Fact]
    public void Every_damage_to_header_or_meta_is_found() =>
        Gen.Select(SentFrame.Any, Gen.Select(Gen.Int[0, 1000], Gen.Byte[1, 255]).Array[1, 6]).Sample((sent, damages) =>
        {
            var original = sent.Encode();
            var bytes = original.ToArray();
            foreach (var (at, change) in damages)
                bytes[at % bytes.Length] ^= change;
            if (!bytes.AsSpan().SequenceEqual(original))
                Assert.Throws<KvFormatException>(() => Read(bytes));
        }, iter: 20_000);

    [Fact]
    public void Every_single_bit_counts()
    {
        var original = new SentFrame(FrameType.Match, WireStatus.Ok, 7, [1, 2, 3], 4).Encode();
        for (var bit = 0; bit < original.Length * 8; bit++)
        {
            var bytes = original.ToArray();
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Throws<KvFormatException>(() => Read(bytes));
        }
    }

    [Fact]
    public void Two_frames_whose_parts_were_exchanged_are_found() =>
        Gen.Select(SentFrame.Any, SentFrame.Any, Gen.Int[1, 1000]).Sample((a, b, at) =>
        {
            byte[] first = a.Encode(), second = b.Encode();
            at = Math.Min(at, Math.Min(first.Length, second.Length) - 1);
            byte[] spliced = [.. first[..at], .. second[at..]];
            if (!spliced.AsSpan().SequenceEqual(first) && !spliced.AsSpan().SequenceEqual(second))
                Assert.Throws<KvFormatException>(() => Read(spliced));
        });

    [Fact]
    public void Lengths_over_the_limits_are_refused_and_the_limits_are_accepted() =>
        Gen.Select(Gen.OneOf(Gen.UInt[0, 200], Gen.UInt), Gen.OneOf(Gen.ULong[0, 200], Gen.ULong), Gen.Int[0, 100], Gen.Long[0, 100])
            .Sample((meta, payload, maxMeta, maxPayload) =>
        {
            var bytes = new SentFrame(FrameType.Put, WireStatus.Ok, 1, [], 0).Encode();
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(16), meta);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(24), payload);
            if (meta <= maxMeta && payload <= (ulong)maxPayload)
                Assert.Equal(
                    ((int)meta, (long)payload),
                    (FrameHeader.Parse(bytes, maxMeta, maxPayload).MetaLength,
                    FrameHeader.Parse(bytes, maxMeta, maxPayload).PayloadLength));
            else
                Assert.Throws<KvFormatException>(() => FrameHeader.Parse(bytes, maxMeta, maxPayload));
        });

    [Fact]
    public void Another_protocol_is_told_so()
    {
        var error = Assert.Throws<KvFormatException>(() => FrameHeader.Parse("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8, 100, 100));
        Assert.Contains("KVC1", error.Message, StringComparison.Ordinal);
    }

    private static void Read(byte[] bytes)
    {
        var header = FrameHeader.Parse(bytes, WireProtocol.MaxMetaBytes, long.MaxValue);
        if (header.MetaLength != bytes.Length - FrameHeader.Size)
            throw new KvFormatException(
                "A receiver takes the announced length, and the checksum over it does not fit; FrameSocketTests show it.");
        header.Verify(bytes);
    }
}
