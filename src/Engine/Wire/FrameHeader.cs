using System.Buffers.Binary;
using KvCache.Caching;
using KvCache.Checksums;

namespace KvCache.Engine.Wire;

/// <summary>
/// The 32 bytes in front of every frame of the data plane: <c>magic u32, type u8, status u8, fields u16, request id u64,
/// meta length u32, CRC-32 u32, payload length u64</c>, little-endian; <c>fields</c> counts the tagged fields with which the meta part
/// begins, in units of 16 bytes (<see cref="WireFields"/>). The CRC covers the header (with a zero CRC field) and the meta part,
/// so that a damaged frame is never taken for another one; payloads carry a CRC per layer.
/// </summary>
/// <param name="Type">What the frame is.</param>
/// <param name="Status">Outcome, in responses; <see cref="WireStatus.Ok"/> in requests.</param>
/// <param name="RequestId">Chosen by the client, repeated in every response.</param>
/// <param name="MetaLength">Bytes of the meta part.</param>
/// <param name="Checksum">CRC-32 over header and meta.</param>
/// <param name="PayloadLength">Bytes of the payload.</param>
/// <param name="FieldBytes">Bytes of tagged fields with which the meta part begins.</param>
internal readonly record struct FrameHeader(
    FrameType Type, WireStatus Status, ulong RequestId, int MetaLength, uint Checksum, long PayloadLength, int FieldBytes = 0)
{
    /// <summary>Bytes of a header.</summary>
    public const int Size = 32;

    /// <summary>First four bytes of every frame: "KVC1".</summary>
    public const uint Magic = 0x3143564B;

    private const int FieldsOffset = 6;
    private const int ChecksumOffset = 20;

    /// <summary>Parses a header and checks its bounds. The checksum is checked by <see cref="Verify"/>, when the meta part is
    /// there.</summary>
    /// <param name="bytes">At least <see cref="Size"/> bytes.</param>
    /// <param name="maxMeta">Longest accepted meta part.</param>
    /// <param name="maxPayload">Longest accepted payload.</param>
    /// <exception cref="KvFormatException">Not a header of this protocol, or over a bound.</exception>
    public static FrameHeader Parse(ReadOnlySpan<byte> bytes, int maxMeta, long maxPayload)
    {
        var magic = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        if (magic != Magic)
            throw new KvFormatException(
                $"The frame starts with 0x{magic:x8}; 0x{Magic:x8} (\"KVC1\") was expected. Is this a KvCache data plane client?");
        var meta = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]);
        if (meta > (uint)maxMeta)
            throw new KvFormatException($"The frame announces {meta} bytes of meta; at most {maxMeta} are accepted.");
        var fields = BinaryPrimitives.ReadUInt16LittleEndian(bytes[FieldsOffset..]) * WireFields.Unit;
        if (fields > meta)
            throw new KvFormatException($"The frame announces {fields} bytes of tagged fields in {meta} bytes of meta.");
        var payload = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
        if (payload > (ulong)maxPayload)
            throw new KvFormatException($"The frame announces {payload} bytes of payload; at most {maxPayload} are accepted.");
        return new FrameHeader(
            (FrameType)bytes[4],
            (WireStatus)bytes[5],
            BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
            (int)meta,
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[ChecksumOffset..]),
            (long)payload,
            fields);
    }

    /// <summary>Writes a header in front of a meta part that is already in place, and its checksum.</summary>
    /// <param name="frame"><see cref="Size"/> bytes for the header, then the meta part.</param>
    /// <param name="type">What the frame is.</param>
    /// <param name="status">Outcome.</param>
    /// <param name="requestId">Id of the request.</param>
    /// <param name="payloadLength">Bytes that follow the meta part.</param>
    /// <param name="fieldBytes">Bytes of tagged fields with which the meta part begins.</param>
    public static void Write(
        Span<byte> frame, FrameType type, WireStatus status, ulong requestId, long payloadLength, int fieldBytes = 0)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame, Magic);
        frame[4] = (byte)type;
        frame[5] = (byte)status;
        BinaryPrimitives.WriteUInt16LittleEndian(frame[FieldsOffset..], (ushort)(fieldBytes / WireFields.Unit));
        BinaryPrimitives.WriteUInt64LittleEndian(frame[8..], requestId);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[16..], (uint)(frame.Length - Size));
        BinaryPrimitives.WriteUInt32LittleEndian(frame[ChecksumOffset..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[24..], (ulong)payloadLength);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[ChecksumOffset..], BlockChecksum.Compute(frame));
    }

    /// <summary>Checks header and meta against the checksum.</summary>
    /// <param name="frame">The header as received, then the meta part. The checksum field is cleared.</param>
    /// <exception cref="KvFormatException">They were damaged on the way.</exception>
    public void Verify(Span<byte> frame)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame[ChecksumOffset..], 0);
        var actual = BlockChecksum.Compute(frame);
        if (actual != Checksum)
            throw new KvFormatException($"The frame's header and meta have CRC-32 0x{actual:x8}; the header says 0x{Checksum:x8}.");
    }
}
