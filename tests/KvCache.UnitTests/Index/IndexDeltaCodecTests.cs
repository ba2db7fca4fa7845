using CsCheck;
using KvCache.Engine.Index;
using Xunit;

namespace KvCache.UnitTests;

public sealed class IndexDeltaCodecTests
{
    private static readonly Gen<IndexDelta> Delta =
        Gen.Select(Gen.Int[1, 5], Gen.ULong, Gen.ULong, Gen.Byte.Array[32], Gen.ULong)
            .Select((operation, high, low, hash, stamp) =>
                new IndexDelta(
                (IndexOperation)operation, new BlockKey(new NamespaceId(new TenantId(high), low), new BlockHash(hash)), stamp));

    [Fact]
    public void What_is_written_is_read() => Delta.Array[0, 20].Sample(deltas =>
    {
        var bytes = new byte[IndexDeltaCodec.BytesOf(deltas.Length)];
        Assert.Equal(bytes.Length, IndexDeltaCodec.Encode(deltas, bytes));
        var read = new IndexDelta[deltas.Length + 1];
        Assert.Equal(deltas.Length, IndexDeltaCodec.Decode(bytes, read));
        Assert.Equal(deltas, read[..^1]);
    });

    [Fact]
    public void The_form_is_fixed()
    {
        Assert.Equal(57, IndexDeltaCodec.Size);
        byte[] hash = [.. Enumerable.Range(0x20, 32).Select(i => (byte)i)];
        var delta = new IndexDelta(
            IndexOperation.Persisted,
            new BlockKey(new NamespaceId(new TenantId(0x0706050403020100), 0x0F0E0D0C0B0A0908), new BlockHash(hash)), 0x0102030405060708);
        var bytes = new byte[59];
        IndexDeltaCodec.Encode([delta], bytes);
        byte[] expected = [57, 0, 3, .. Enumerable.Range(0, 16).Select(i => (byte)i), .. hash, 8, 7, 6, 5, 4, 3, 2, 1];
        Assert.Equal(expected, bytes);
    }

    [Fact]
    public void Bytes_that_are_no_deltas_are_refused()
    {
        byte[] one = [IndexDeltaCodec.Size, 0, 1, .. new byte[IndexDeltaCodec.Size - 1]];
        var room = new IndexDelta[1];
        Assert.Equal(1, IndexDeltaCodec.Decode(one, room));
        Assert.Throws<KvFormatException>(() => IndexDeltaCodec.Decode(one.AsSpan(1), room));
        Assert.Throws<KvFormatException>(() => IndexDeltaCodec.Decode(one.AsSpan(..^1), room));
        Assert.Throws<KvFormatException>(() => IndexDeltaCodec.Decode([.. one, .. one[2..]], room));
        Assert.Throws<KvFormatException>(() => IndexDeltaCodec.Decode([IndexDeltaCodec.Size - 1, 0, .. one[3..]], room));
        Assert.Throws<KvFormatException>(() => IndexDeltaCodec.Decode([1], room));
        Assert.Throws<ArgumentException>(() => IndexDeltaCodec.Encode(new IndexDelta[2], one));
    }

    [Fact]
    public void What_a_later_version_says_more_is_passed_over()
    {
        var known = new IndexDelta(IndexOperation.Added, new BlockKey(new NamespaceId(new TenantId(1), 2), default), 3);
        var encoded = new byte[IndexDeltaCodec.BytesOf(1)];
        IndexDeltaCodec.Encode([known], encoded);
        byte[] delta = [.. encoded[IndexDeltaCodec.HeadBytes..], 9, 9, 9]; // three bytes more
        byte[] unknown = [200, .. delta[1..]];
        var read = new IndexDelta[2];
        Assert.Equal(2, IndexDeltaCodec.Decode([(byte)delta.Length, 0, .. unknown, .. delta], read));
        Assert.Equal(known, read[1]);
        var index = new PrefixIndex();
        index.Apply(5, read.AsSpan(0, 1));
        Assert.Equal(0, index.Count); // what is not known changes nothing, but keeps its number
    }
}
