using System.Buffers;
using KvCache.Caching;
using KvCache.Checksums;

namespace KvCache.Engine.Wire;

/// <content>Values: bytes of any length under a name.</content>
internal sealed partial class BlockConnection
{
    /// <summary>Stores a value, in place of what is stored under its name.</summary>
    /// <param name="ns">Namespace, whose layout is <see cref="WireProtocol.ValueLayout"/>.</param>
    /// <param name="name">Name of the value.</param>
    /// <param name="value">At most <see cref="WireProtocol.MaxValueBytes"/> bytes.</param>
    /// <param name="label">What is stored beside it, 1 to <see cref="ushort.MaxValue"/> bytes.</param>
    /// <param name="options">Its life, and where it is to survive.</param>
    public PutOutcome PutValue(
        CacheNamespace ns, BlockHash name, in ReadOnlySequence<byte> value, ReadOnlySpan<byte> label, StoreOptions options)
    {
        var handle = Open(ns);
        var checksum = 0u;
        foreach (var piece in value)
            checksum = BlockChecksum.Append(checksum, piece.Span);
        var request = Begin();
        request.UInt32(handle);
        request.Hashes([name]);
        request.UInt64(options.TimeToLive is { } life ? WireProtocol.Milliseconds(life) : 0);
        request.UInt8(options.Durability == Durability.Persisted ? WireProtocol.PutPersisted : (byte)0);
        request.UInt8((byte)options.Replicas);
        request.UInt32(checksum);
        request.UInt16((ushort)label.Length);
        request.Bytes(label);
        request.Align();
        if (value.IsSingleSegment)
        {
            _socket.Send(request, FrameType.PutValue, WireStatus.Ok, NextRequestId(), value.FirstSpan);
        }
        else
        {
            _socket.SendHeader(request, FrameType.PutValue, WireStatus.Ok, NextRequestId(), value.Length);
            foreach (var piece in value)
                _socket.SendAll(piece.Span);
        }

        return ReadPutReply(FrameType.PutValueReply, 1).Outcomes[0];
    }

    /// <summary>Reads a value.</summary>
    /// <param name="ns">Namespace, whose layout is <see cref="WireProtocol.ValueLayout"/>.</param>
    /// <param name="name">Name of the value.</param>
    /// <param name="received">Takes it, when it is complete and intact.</param>
    public MissReason GetValue(CacheNamespace ns, BlockHash name, ReceivedValue received)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.Hashes([name]);
        request.UInt8(received.IsLabelOnly ? WireProtocol.ValueLabelOnly : (byte)0);
        Send(FrameType.GetValue);
        var header = Receive(FrameType.GetValueReply, FrameType.GetValueReply, out var reader);
        if (header.Status == WireStatus.Miss)
        {
            reader.End();
            return MissReason.Absent;
        }

        var generation = reader.UInt64();
        var length = reader.Count(WireProtocol.MaxValueBytes, "value");
        var checksum = reader.UInt32();
        var labelChecksum = reader.UInt32();
        var label = reader.Bytes(reader.UInt16()).ToArray();
        reader.EndAligned();
        if (header.PayloadLength != (received.IsLabelOnly ? 0 : length))
            throw new KvFormatException($"The silo announced {header.PayloadLength} bytes for a value of {length}.");
        var actual = checksum;
        if (!received.IsLabelOnly)
        {
            actual = 0;
            for (var rest = received.Take(length); rest.Length > 0;)
            {
                var piece = rest[..Math.Min(rest.Length, FrameSocket.ChunkBytes)];
                _socket.ReceiveExact(piece);
                actual = BlockChecksum.Append(actual, piece); // while it is in the processor's cache
                rest = rest[piece.Length..];
            }
        }

        if (actual == checksum && BlockChecksum.Compute(label) == labelChecksum)
        {
            received.Complete(length, label);
            return MissReason.None;
        }

        Verify(ns, name, generation);
        return MissReason.Corrupt;
    }
}
