using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Values;

namespace KvCache.Silo.Data;

/// <content>Values: bytes of any length under a name, which a later write replaces.</content>
internal sealed partial class Session
{
    private void PutValue(FrameHeader header, ReadOnlySpan<byte> meta)
    {
        if (header.PayloadLength > ValueBlocks.MaxValueBytes)
            throw new KvFormatException(
                $"A value has at most {ValueBlocks.MaxValueBytes} bytes; {header.PayloadLength} were announced.");
        var length = (int)header.PayloadLength;
        var reader = new WireReader(meta);
        BlockKey key;
        BlockTerms terms;
        uint announced;
        ReadOnlySpan<byte> label;
        try
        {
            key = ReadValueKey(ref reader);
            terms = ReadTerms(ref reader);
            announced = reader.UInt32();
            label = reader.Bytes(reader.UInt16());
            reader.EndAligned();
            if (label.IsEmpty)
                throw new ProtocolException(WireStatus.InvalidRequest, "A value has a label of at least one byte; this one has none.");
        }
        catch (ProtocolException)
        {
            _socket.Drain(length); // the connection stays in step
            throw;
        }

        if (length > 0)
            _socket.WaitForBytes(); // what was only announced is worth no memory
        using var write = _server.Values.Begin(key, length, label);
        if (!write.HasMemory)
            _socket.Drain(length);
        while (write.HasMemory && write.Missing > 0)
        {
            var next = write.Next;
            _socket.ReceiveExact(next);
            write.Advance(next.Length);
        }

        var isIntact = !write.HasMemory || write.Checksum == announced;
        var outcome = isIntact ? write.Finish(terms) : PutOutcome.Corrupt;
        if (!isIntact)
            _server.Counters.Put(outcome);
        var reply = Reply();
        reply.UInt32(1);
        reply.UInt8((byte)outcome);
        reply.UInt8(0); // it knows no other place: a value is read where its name is asked for
        _socket.Send(reply, FrameType.PutValueReply, WireStatus.Ok, header.RequestId);
    }

    private void GetValue(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var key = ReadValueKey(ref reader);
        var flags = reader.UInt8();
        reader.End();
        if ((flags & ~WireProtocol.ValueLabelOnly) != 0)
            throw new ProtocolException(
                WireStatus.InvalidRequest, $"The flags 0x{flags:x2} have bits that version {WireProtocol.Version} does not know.");
        using var lease = _server.Values.Find(key, checks: false);
        var reply = Reply();
        if (lease is null)
        {
            _socket.Send(reply, FrameType.GetValueReply, WireStatus.Miss, requestId);
            return;
        }

        var value = ValueBlocks.ValueOf(lease);
        var label = ValueBlocks.LabelOf(lease);
        reply.UInt64(lease.Generation);
        reply.UInt32((uint)value.Length);
        reply.UInt32(ValueBlocks.ChecksumOf(lease));
        reply.UInt32(lease.Checksums[^1]);
        reply.UInt16((ushort)label.Length);
        reply.Bytes(label);
        reply.Align();
        _socket.Send(
            reply, FrameType.GetValueReply, WireStatus.Ok, requestId, (flags & WireProtocol.ValueLabelOnly) != 0 ? default : value);
    }

    private BlockKey ReadValueKey(ref WireReader reader)
    {
        var ns = Namespace(ref reader);
        var hash = reader.Hashes(1)[0];
        return ns.Layout.Equals(WireProtocol.ValueLayout)
            ? new BlockKey(ns.Id, hash)
            : throw new ProtocolException(
                WireStatus.InvalidRequest, "Values lie in namespaces whose layout is opaque, of one layer, one byte and one token.");
    }

    private static BlockTerms ReadTerms(ref WireReader reader)
    {
        var timeToLive = reader.UInt64();
        var flags = reader.UInt8();
        var copies = reader.UInt8();
        return (flags & ~WireProtocol.PutPersisted) != 0 || copies > WireProtocol.MaxCopies
            ? throw new ProtocolException(
                WireStatus.InvalidRequest,
                $"The value has flags 0x{flags:x2} and asks for {copies} copies; version {WireProtocol.Version} knows flag "
                + $"{WireProtocol.PutPersisted} and at most {WireProtocol.MaxCopies} copies.")
            : new BlockTerms(
                timeToLive == 0 ? null : WireProtocol.Duration(timeToLive),
                new BlockDurability(copies, (flags & WireProtocol.PutPersisted) != 0),
                Replace: true);
    }
}
