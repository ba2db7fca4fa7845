using CsCheck;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;

namespace KvCache.UnitTests.Wire;

/// <summary>A frame without its payload, as it was meant.</summary>
internal sealed record SentFrame(FrameType Type, WireStatus Status, ulong RequestId, byte[] Meta, long PayloadLength)
{
    public static Gen<SentFrame> Any { get; } =
        Gen.Select(Gen.Enum<FrameType>(), Gen.Enum<WireStatus>(), Gen.ULong, Gen.Byte.Array[0, 100], Gen.Long[0, long.MaxValue])
            .Select((type, status, id, meta, payload) => new SentFrame(type, status, id, meta, payload));

    public WireWriter Writer()
    {
        var writer = new WireWriter();
        writer.Take(FrameHeader.Size);
        writer.Bytes(Meta);
        return writer;
    }

    public byte[] Encode()
    {
        var writer = Writer();
        FrameHeader.Write(writer.Writable, Type, Status, RequestId, PayloadLength);
        return writer.Written.ToArray();
    }
}
