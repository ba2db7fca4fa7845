using System.Buffers.Binary;
using System.Text;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.Silo.Connections;
using KvCache.Silo.Data;

namespace KvCache.Chaos.Fuzz;

/// <summary>Frames of the data plane, of clients and of peers, most of them with a right checksum.</summary>
internal sealed class FrameTarget(InnerSilo silo) : SessionTarget("frames", silo)
{
    private readonly byte[][] _corpus = Corpus.Of("frames");
    private readonly byte[][] _namespaces = Corpus.Of("namespace");

    public override double Weight => 4;

    protected override int Requests => 24;

    protected override Connection Open(MemoryChannel channel) => new Session(Silo.Blocks, channel, "fuzz", Silo.Failures);

    // Hello, the proof that fits the silo's nonce, and the namespaces that the recorded frames name.
    protected override int Greet(MemoryChannel channel, Mutator mutator)
    {
        var isPeer = mutator.Dice.Next(4) == 0;
        var tenant = isPeer ? WireProtocol.PeerTenant : "default";
        var secret = isPeer ? Encoding.UTF8.GetBytes(InnerSilo.ClusterSecret) : [];
        var nonce = new byte[WireProtocol.NonceSize];
        channel.Add(Hello(nonce, tenant));
        var greeted = false;
        channel.Sent = bytes =>
        {
            if (!greeted)
            {
                greeted = true;
                channel.AddFirst(Proof(secret, nonce, bytes[(FrameHeader.Size + sizeof(ushort))..], tenant));
                return;
            }

            Verify(bytes, channel.Current);
        };
        foreach (var ns in _namespaces)
            channel.Add(Frame(FrameType.OpenNamespace, 3, writer => writer.Bytes(ns)));
        return 2 + _namespaces.Length;
    }

    protected override byte[] Next(Mutator mutator)
    {
        var (valid, other) = Pick(_corpus, mutator);
        var header = FrameHeader.Parse(valid, WireProtocol.MaxMetaBytes, long.MaxValue);
        var meta = valid.AsSpan(FrameHeader.Size, header.MetaLength);
        var payload = valid.AsSpan(FrameHeader.Size + header.MetaLength);
        switch (mutator.Dice.Next(100))
        {
            case < 20: // as it is: what went wrong before is to meet something that works
                return valid;
            case < 90:
                var type = mutator.Dice.Next(30) == 0 ? (FrameType)mutator.Dice.Next(256) : header.Type;
                var changed = mutator.Mutate(meta, other.AsSpan(FrameHeader.Size));
                if (type == FrameType.PeerDeltas && changed.Length >= sizeof(ulong) + sizeof(uint))
                    changed.AsSpan(sizeof(ulong), sizeof(uint)).Clear(); // the time for which it wants to wait
                var fields = mutator.Dice.Next(40) == 0 ? mutator.Dice.Next(64) * WireFields.Unit : header.FieldBytes;
                return Frame(type, header.RequestId, changed, payload, Math.Min(fields,
                    changed.Length / WireFields.Unit * WireFields.Unit));
            case < 96:
                return payload.IsEmpty ? valid : Frame(header.Type, header.RequestId, meta, mutator.Mutate(payload, other),
                    header.FieldBytes);
            default:
                return mutator.Mutate(valid, other);
        }
    }

    /// <summary>The first frame of a connection.</summary>
    internal static byte[] Hello(byte[] nonce, string tenant) => Frame(FrameType.Hello, 1, writer =>
    {
        writer.UInt16(WireProtocol.OldestVersion);
        writer.UInt16(WireProtocol.Version);
        writer.Bytes(nonce);
        writer.Text(tenant);
    });

    /// <summary>The second one.</summary>
    internal static byte[] Proof(byte[] secret, byte[] nonce, ReadOnlySpan<byte> theirs, string tenant)
    {
        var proof = WireProtocol.ClientProof(secret, nonce, theirs, tenant);
        return Frame(FrameType.Authenticate, 2, writer => writer.Bytes(proof));
    }

    /// <summary>A frame.</summary>
    internal static byte[] Frame(FrameType type, ulong request, Action<WireWriter> write)
    {
        var writer = new WireWriter();
        writer.Take(FrameHeader.Size);
        write(writer);
        FrameHeader.Write(writer.Writable, type, WireStatus.Ok, request, 0);
        return writer.Written.ToArray();
    }

    private static byte[] Frame(FrameType type, ulong request, ReadOnlySpan<byte> meta, ReadOnlySpan<byte> payload, int fields)
    {
        var frame = new byte[FrameHeader.Size + meta.Length + payload.Length];
        meta.CopyTo(frame.AsSpan(FrameHeader.Size));
        payload.CopyTo(frame.AsSpan(FrameHeader.Size + meta.Length));
        FrameHeader.Write(frame.AsSpan(0, FrameHeader.Size + meta.Length), type, WireStatus.Ok, request, payload.Length, fields);
        return frame;
    }

    // Whatever comes in, what goes out begins as a frame.
    private static void Verify(ReadOnlySpan<byte> sent, byte[] input)
    {
        if (sent.Length >= FrameHeader.Size && BinaryPrimitives.ReadUInt32LittleEndian(sent) == FrameHeader.Magic
            && (FrameStatusOf(sent) == WireStatus.Internal))
            throw new FuzzFailure("The silo says that it failed", input);
    }

    private static WireStatus FrameStatusOf(ReadOnlySpan<byte> frame) =>
        (FrameType)frame[4] == FrameType.Error ? (WireStatus)frame[5] : WireStatus.Ok;
}
