using System.Buffers.Binary;
using System.Net.Sockets;
using KvCache.Caching;
using KvCache.Engine.Index;
using KvCache.Engine.Wire;

namespace KvCache.Chaos.Fuzz;

/// <summary>Answers of a silo that lies, as a client and a peer read them.</summary>
internal sealed class AnswerTarget : FuzzTarget
{
    private readonly byte[][] _corpus = Corpus.Of("answers");
    private readonly CacheNamespace _ns = CorpusRecorder.Small;
    private readonly KvPrefix _prefix = CorpusRecorder.PrefixOf(CorpusRecorder.Small, 1, 3);
    private readonly IndexDelta[] _deltas = new IndexDelta[BlockConnection.MaxDeltas];

    public AnswerTarget()
        : base("answers")
    {
    }

    public override double Weight => 2;

    public override int Feed(Mutator mutator)
    {
        var channel = new MemoryChannel();
        channel.Sent = request =>
        {
            if (request.Length < FrameHeader.Size || BinaryPrimitives.ReadUInt32LittleEndian(request) != FrameHeader.Magic)
                return;
            var header = FrameHeader.Parse(request, WireProtocol.MaxMetaBytes, long.MaxValue);
            if (header.Type == FrameType.OpenNamespace)
                channel.Add(FrameTarget.Frame(FrameType.OpenNamespaceReply, header.RequestId, writer =>
                {
                    writer.UInt32(0);
                    _ns.Id.CopyTo(writer.Take(NamespaceId.Size));
                }));
            else
                Answer(channel, mutator, header);
        };
        using var connection = new BlockConnection(new FrameSocket(channel, maxPayload: KvLayout.MaxBlockBytes));
        try
        {
            while (channel.Begun < 32)
                Call(connection, mutator.Dice);
        }
        catch (Exception e) when (e is KvFormatException or SiloException or SocketException)
        {
            // The client takes it for a miss.
        }
        catch (Exception e)
        {
            throw new FuzzFailure("A client threw", channel.Current, e);
        }

        return channel.Begun;
    }

    // Recorded answers of this type, each changed or not, for the request that was made.
    private void Answer(MemoryChannel channel, Mutator mutator, FrameHeader request)
    {
        var reply = (FrameType)((byte)request.Type | 0x80);
        for (var frames = 1 + mutator.Dice.Next(3); frames > 0; frames--)
        {
            var fitting = Array.FindAll(_corpus, frame => (FrameType)frame[4] == reply || mutator.Dice.Next(16) == 0);
            var valid = fitting.Length > 0 ? fitting[mutator.Dice.Next(fitting.Length)] : _corpus[mutator.Dice.Next(_corpus.Length)];
            var header = FrameHeader.Parse(valid, WireProtocol.MaxMetaBytes, long.MaxValue);
            ReadOnlySpan<byte> meta = valid.AsSpan(FrameHeader.Size, header.MetaLength);
            var payload = valid.AsSpan(FrameHeader.Size + header.MetaLength);
            if (mutator.Dice.Next(3) > 0)
                meta = mutator.Mutate(meta, _corpus[mutator.Dice.Next(_corpus.Length)]);
            var bytes = new byte[FrameHeader.Size + meta.Length + payload.Length];
            meta.CopyTo(bytes.AsSpan(FrameHeader.Size));
            payload.CopyTo(bytes.AsSpan(FrameHeader.Size + meta.Length));
            FrameHeader.Write(
                bytes.AsSpan(0, FrameHeader.Size + meta.Length), header.Type, header.Status, request.RequestId, payload.Length,
                Math.Min(header.FieldBytes, meta.Length / WireFields.Unit * WireFields.Unit));
            channel.Add(bytes);
        }
    }

    private void Call(BlockConnection connection, Random dice)
    {
        var hashes = _prefix.Chain.Hashes;
        var delivered = 0;
        switch (dice.Next(7))
        {
            case 0:
                connection.Match([_ns], hashes, TimeSpan.FromSeconds(1));
                break;
            case 1:
                connection.Locate(_ns, hashes);
                break;
            case 2:
                var memory = new Memory<byte>[hashes.Length];
                Array.Fill(memory, new byte[_ns.Layout.BlockBytes]);
                connection.Get(_ns, hashes, _ns.Layout.AllLayers, memory, 0, localOnly: true, ref delivered);
                break;
            case 3:
                connection.Pin(_ns, hashes, TimeSpan.FromSeconds(1));
                break;
            case 4:
                connection.Delete(_ns, hashes);
                break;
            case 5:
                connection.Stat();
                break;
            default:
                connection.ReadDeltas(1, TimeSpan.Zero, _deltas);
                break;
        }
    }
}
