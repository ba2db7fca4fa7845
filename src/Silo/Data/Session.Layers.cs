using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <content>Reading blocks layer by layer.</content>
internal sealed partial class Session
{
    private readonly LeaseList _layerLeases = new();
    private readonly List<FollowedBlock> _followed = []; // whose leases are among them
    private UnmanagedPiece[] _pieces = [];

    private void GetLayers(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadGet(meta, WireProtocol.GetLocalOnly | WireProtocol.GetFollow | WireProtocol.GetEndsHold, out var flags,
            out var range, out var hashes);
        try
        {
            // All blocks at once, as every one of them is read until the last layer: what a connection may hold bounds that. What a match
            // holds already counts once.
            using var hold = UseHold(flags);
            LeaseRun(ns, hashes, hashes.Length, flags, _holds.FreeBytes + (hold?.Bytes ?? 0), _layerLeases);
            SendLayers(requestId, ns.Layout, range);
        }
        finally
        {
            _layerLeases.Dispose();
            _followed.Clear();
        }
    }

    private BlockLease? Follow(BlockKey key, TimeSpan patience)
    {
        if (_server.Store.Follow(key, patience) is not { } followed)
            return null;
        _followed.Add(followed);
        return followed.Lease;
    }

    private void SendLayers(ulong requestId, KvLayout layout, LayerRange range)
    {
        var blocks = _layerLeases.Count;
        var head = Reply();
        head.UInt32((uint)blocks);
        foreach (var lease in _layerLeases)
            head.UInt64(lease.Generation);
        head.Align();
        FrameHeader.Write(head.Writable, FrameType.GetLayersReply, WireStatus.Ok, requestId, payloadLength: 0);
        var rest = blocks == 0 ? default : range;
        if (rest.Count == 0)
        {
            head.Bytes(EndOfLayers(requestId));
            _socket.SendAll(head.Written);
            return;
        }

        for (var block = 0; rest.Count > 0;)
        {
            ContinueFrame();
            var readable = WaitForLayer(layout, rest);
            if (readable.Count == 0)
            {
                head.Bytes(EndOfLayers(requestId));
                _socket.SendAll(head.Written);
                return;
            }

            // The first layer is what the reader waits for; small ones behind it may share a frame.
            var frame = LayerFrame.Next(layout, readable, block, blocks, alone: rest.First == range.First);
            AppendHead(head, requestId, layout, frame);
            if (_pieces.Length < frame.Pieces)
                _pieces = new UnmanagedPiece[LayerFrame.MaxPieces];
            var piece = 0;
            for (var layer = frame.Layer; layer < frame.Layer + frame.Layers; layer++)
            {
                for (var i = frame.Block; i < frame.EndBlock; i++)
                    _pieces[piece++] = UnmanagedPiece.Of(_layerLeases[i].Layers(new LayerRange(layer, 1)));
            }

            block = frame.EndBlock < blocks ? frame.EndBlock : 0;
            if (block == 0)
                rest = new LayerRange(rest.First + frame.Layers, rest.Count - frame.Layers);
            _socket.SendPieces(head.Written, _pieces.AsSpan(0, piece), rest.Count == 0 ? EndOfLayers(requestId) : default);
            head.Reset();
        }
    }

    // Those of the layers that may be sent now, at least the first of them; none when a write that is followed came to nothing. The last
    // layer that was asked for waits for the publication,
    // whichever it is: a reader who has all that he asked for has nothing of a write that failed. Each layer has the time of a frame.
    private LayerRange WaitForLayer(KvLayout layout, LayerRange rest)
    {
        var end = rest.End;
        var needed = rest.Count == 1 ? layout.Layers : rest.First + 1;
        foreach (var block in _followed)
        {
            BeginFrame();
            var readable = block.WaitFor(needed, _server.Options.FollowPatience);
            if (readable < needed)
                return default;
            end = Math.Min(end, readable < layout.Layers ? Math.Min(readable, rest.End - 1) : rest.End);
        }

        return new LayerRange(rest.First, end - rest.First);
    }

    private void AppendHead(WireWriter head, ulong requestId, KvLayout layout, LayerFrame frame)
    {
        var start = head.Length;
        head.Take(FrameHeader.Size);
        head.UInt32((uint)frame.Layer);
        head.UInt32((uint)frame.Layers);
        head.UInt32((uint)frame.Block);
        head.UInt32((uint)frame.Blocks);
        for (var layer = frame.Layer; layer < frame.Layer + frame.Layers; layer++)
        {
            for (var i = frame.Block; i < frame.EndBlock; i++)
                head.UInt32(_layerLeases[i].Checksums[layer]);
        }

        head.Align();
        FrameHeader.Write(head.Writable[start..], FrameType.LayerPieces, WireStatus.Ok, requestId, frame.PayloadBytes(layout));
    }

    private ReadOnlySpan<byte> EndOfLayers(ulong requestId)
    {
        _end.Reset();
        _end.Take(FrameHeader.Size);
        FrameHeader.Write(_end.Writable, FrameType.GetLayersEnd, WireStatus.Ok, requestId, payloadLength: 0);
        return _end.Written;
    }
}
