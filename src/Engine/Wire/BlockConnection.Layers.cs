using System.Buffers;
using System.Runtime.InteropServices;
using KvCache.Caching;
using KvCache.Checksums;

namespace KvCache.Engine.Wire;

/// <content>Blocks layer by layer.</content>
internal sealed partial class BlockConnection
{
    /// <summary>Reads blocks into the caller's memory: the first layer of all of them, then the second of all of them, and so on.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="destinations">Memory for each block, as large as the layers.</param>
    /// <param name="localOnly">Only what this silo holds; otherwise it fetches what it lacks from other silos and Redis before it
    /// answers.</param>
    /// <param name="sink">Hears of every layer.</param>
    /// <param name="follow">Blocks that are still being written at this silo are read as well; their layers come as they are
    /// written.</param>
    /// <param name="hold">What a match holds of them.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>Whether everything was delivered, blocks were missing at the end (also when a write that was followed came to nothing), or
    /// one was damaged.</returns>
    public MissReason GetLayers(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range, IReadOnlyList<Memory<byte>> destinations, bool localOnly,
            ILayerSink sink, bool follow = false, HoldToRead hold = default, CacheHint? hint = null)
    {
        var handle = Open(ns);
        var request = Begin(hint, hold.Id);
        request.UInt32(handle);
        request.UInt8((byte)((localOnly ? WireProtocol.GetLocalOnly : 0) | (follow ? WireProtocol.GetFollow : 0)
            | (hold.Ends ? WireProtocol.GetEndsHold : 0)));
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
            var frame = new LayerFrame(
                (int)reader.UInt32(), reader.Count(rest.Count, "layers"), (int)reader.UInt32(), reader.Count(blocks - block, "blocks"));
            if (rest.Count == 0 || frame.Layer != rest.First || frame.Block != block || frame.Layers == 0 || frame.Blocks == 0
                || (frame.Layers > 1 && frame.Blocks != blocks) || header.PayloadLength != frame.PayloadBytes(ns.Layout)
                    || reader.Remaining / sizeof(uint) < frame.Pieces)
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
        if (blocks > 0 && rest.Count > 0 && !follow)
            throw new KvFormatException($"The silo ended a read of layers {range} before layer {rest.First}.");
        if (intact == blocks)
            return blocks == hashes.Length && rest.Count == 0 ? MissReason.None : MissReason.Absent;
        Verify(ns, hashes[intact], generations[intact]);
        return MissReason.Corrupt;
    }

    /// <summary>Stores blocks of one chain layer by layer, each as soon as it is ready.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">One a block; at most <see cref="WireProtocol.MaxBlocksByLayers"/>.</param>
    /// <param name="parent">Hash of the block before the first one, or zero.</param>
    /// <param name="depth">Index of the first block in its chain.</param>
    /// <param name="blocks">Memory of blocks; a layer is read when it is ready.</param>
    /// <param name="firstBlock">Index of the first block's memory.</param>
    /// <param name="options">Time to live and what eviction should know.</param>
    /// <param name="waitFor">Blocks until a layer is ready, or throws.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>One outcome a block, and where there is more room.</returns>
    public PutReply PutLayers(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, BlockHash parent, int depth, IReadOnlyList<ReadOnlyMemory<byte>> blocks,
            int firstBlock, StoreOptions options, Action<int> waitFor, CacheHint? hint = null)
    {
        var (layout, count) = (ns.Layout, hashes.Length);
        var handle = Open(ns);
        var request = Begin(hint);
        WritePut(request, handle, hashes, parent, depth, options, WireProtocol.PutByLayers);
        request.Align();
        _socket.SendHeader(request, FrameType.Put, WireStatus.Ok, NextRequestId(), WireProtocol.PutPayloadBytes(layout, count));
        var checksums = new uint[count * layout.Layers];
        var pins = new MemoryHandle[count];
        try
        {
            for (var i = 0; i < count; i++)
                pins[i] = blocks[firstBlock + i].Pin();
            var pieces = new UnmanagedPiece[Math.Min(count, LayerFrame.MaxPieces)];
            for (var layer = 0; layer < layout.Layers; layer++)
            {
                waitFor(layer);
                for (var first = 0; first < count; first += pieces.Length)
                {
                    var some = Math.Min(pieces.Length, count - first);
                    for (var i = 0; i < some; i++)
                    {
                        var bytes = blocks[firstBlock + first + i].Span.Slice(layout.LayerOffset(layer), layout.LayerBytes(layer));
                        checksums[((first + i) * layout.Layers) + layer] = BlockChecksum.Compute(bytes);
                        pieces[i] = UnmanagedPiece.Of(bytes);
                    }

                    _socket.SendPieces([], pieces.AsSpan(0, some), []);
                }
            }
        }
        finally
        {
            foreach (var pin in pins)
                pin.Dispose();
        }

        _socket.SendAll(MemoryMarshal.AsBytes(checksums.AsSpan()));
        return ReadPutReply(FrameType.PutReply, count);
    }

    private void ReceivePieces(
        KvLayout layout, LayerFrame frame, LayerRange range, IReadOnlyList<Memory<byte>> destinations, ILayerSink sink, bool isLast,
        ref int intact)
    {
        var piece = 0;
        for (var layer = frame.Layer; layer < frame.Layer + frame.Layers; layer++)
        {
            var (start, bytes) = (layout.OffsetIn(range, layer), layout.LayerBytes(layer));
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
