using System.Runtime.InteropServices;

namespace KvCache.Wire;

/// <content>Blocks layer by layer.</content>
public sealed partial class BlockConnection
{
    /// <summary>Reads blocks into the caller's memory: the first layer of all of them, then the second of all of them, and so on.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="destinations">Memory for each block, as large as the layers.</param>
    /// <param name="localOnly">Only what this silo holds; otherwise it fetches what it lacks from other silos and Redis before it answers.</param>
    /// <param name="sink">Hears of every layer.</param>
    /// <returns>Whether everything was delivered, blocks were missing at the end, or one was damaged.</returns>
    public MissReason GetLayers(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range, IReadOnlyList<Memory<byte>> destinations, bool localOnly, ILayerSink sink)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.UInt8(localOnly ? WireProtocol.GetLocalOnly : (byte)0);
        request.UInt32((uint)range.First);
        request.UInt32((uint)range.Count);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        Send(FrameType.GetLayers);
        Receive(FrameType.GetLayersReply, FrameType.GetLayersReply, out var reader);
        var blocks = reader.Count(hashes.Length, "blocks");
        var generations = MemoryMarshal.Cast<byte, ulong>(reader.Bytes(blocks * sizeof(ulong))).ToArray();
        reader.EndAligned();
        sink.Promised(blocks);

        var rest = range;
        var intact = blocks; // blocks behind a damaged one are not written any more
        for (var block = 0; ;)
        {
            var header = Receive(FrameType.LayerPieces, FrameType.GetLayersEnd, out reader);
            if (header.Type == FrameType.GetLayersEnd)
                break;
            var frame = new LayerFrame((int)reader.UInt32(), reader.Count(rest.Count, "layers"), (int)reader.UInt32(), reader.Count(blocks - block, "blocks"));
            if (rest.Count == 0 || frame.Layer != rest.First || frame.Block != block || frame.Layers == 0 || frame.Blocks == 0
                || (frame.Layers > 1 && frame.Blocks != blocks) || header.PayloadLength != frame.PayloadBytes(ns.Layout) || reader.Remaining / sizeof(uint) < frame.Pieces)
            {
                throw new KvFormatException("The silo sent layers that were not asked for, or not in their order.");
            }

            EnsureChecksums(frame.Pieces);
            reader.Bytes(frame.Pieces * sizeof(uint)).CopyTo(MemoryMarshal.AsBytes(_expected.AsSpan(0, frame.Pieces)));
            reader.EndAligned();
            ReceivePieces(ns.Layout, frame, range, destinations, sink, isLast: frame.EndBlock == blocks, ref intact);
            block = frame.EndBlock < blocks ? frame.EndBlock : 0;
            if (block == 0)
                rest = new LayerRange(rest.First + frame.Layers, rest.Count - frame.Layers);
        }

        reader.End();
        if (blocks > 0 && rest.Count > 0)
            throw new KvFormatException($"The silo ended a read of layers {range} before layer {rest.First}.");
        if (intact == blocks)
            return blocks == hashes.Length ? MissReason.None : MissReason.Absent;
        Verify(ns, hashes[intact], generations[intact]);
        return MissReason.Corrupt;
    }

    private void ReceivePieces(KvLayout layout, LayerFrame frame, LayerRange range, IReadOnlyList<Memory<byte>> destinations, ILayerSink sink, bool isLast, ref int intact)
    {
        var piece = 0;
        for (var layer = frame.Layer; layer < frame.Layer + frame.Layers; layer++)
        {
            var (start, bytes) = (layout.LayerOffset(layer) - layout.LayerOffset(range.First), layout.LayerBytes(layer));
            for (var block = frame.Block; block < frame.EndBlock; block++, piece++)
            {
                if (block >= intact)
                {
                    _socket.Drain(bytes);
                    continue;
                }

                _socket.ReceiveLayers(destinations[block].Span.Slice(start, bytes), layout, new LayerRange(layer, 1), _actual.AsSpan(0, 1));
                if (_actual[0] != _expected[piece])
                    intact = block;
            }

            if (isLast)
                sink.Arrived(layer, intact);
        }
    }
}
