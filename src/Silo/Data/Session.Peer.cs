using System.Runtime.InteropServices;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Index;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <content>What other silos ask.</content>
internal sealed partial class Session
{
    private const int PeerReadAhead = 4; // blocks that are read from the disk ahead of the one that is sent

    private IndexDelta[] _deltas = [];

    private void PeerGet(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var count = reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks");
        var keys = new BlockKey[count];
        for (var i = 0; i < count; i++)
            keys[i] = new BlockKey(NamespaceId.Read(reader.Bytes(NamespaceId.Size)), new BlockHash(reader.Bytes(BlockHash.Size)));
        reader.End();
        var delivered = 0;
        for (var i = 0; i < count; i++)
        {
            if (i + PeerReadAhead < count)
                _server.Fetcher.PrefetchHere(keys[i + PeerReadAhead]);
            using var lease = _server.Fetcher.FetchHere(keys[i].Namespace, [keys[i].Hash]);
            if (lease is null)
                continue;
            var block = Reply();
            BlockConnection.WritePeerHeader(block, i, lease);
            block.Bytes(MemoryMarshal.AsBytes(lease.Checksums));
            block.Align();
            _socket.Send(block, FrameType.PeerBlock, WireStatus.Ok, requestId, lease.Bytes);
            delivered++;
        }

        SendCount(FrameType.PeerGetEnd, requestId, delivered);
    }

    private void PeerDeltas(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var from = reader.UInt64();
        var wait = TimeSpan.FromMilliseconds(Math.Min(reader.UInt32(), (uint)_server.Options.FrameTimeout.TotalMilliseconds / 2));
        reader.End();
        if (_deltas.Length == 0)
            _deltas = new IndexDelta[BlockConnection.MaxDeltas];
        var log = _server.Cluster.Directory.Log;
        log.Wait(from, wait);
        var count = log.Read(from, _deltas, out var first);
        var reply = ReplyWithClock();
        reply.UInt64(log.Incarnation);
        reply.UInt64(first);
        reply.UInt64(log.Next);
        reply.UInt64((ulong)_server.Store.AvailableBytes);
        reply.UInt8(count == IndexLog.Gap ? (byte)1 : (byte)0);
        WriteDeltas(reply, _deltas.AsSpan(0, Math.Max(0, count)));
        _socket.Send(reply, FrameType.PeerDeltasReply, WireStatus.Ok, requestId);
    }

    private void PeerSnapshot(ulong requestId, ReadOnlySpan<byte> meta)
    {
        new WireReader(meta).End();
        var directory = _server.Cluster.Directory;
        var snapshot = new DirectorySnapshot(directory);
        var page = new List<IndexDelta>(BlockConnection.MaxDeltas);
        SendPage(); // the first page, which is empty, tells the number
        while (snapshot.Read(page))
        {
            while (page.Count >= BlockConnection.MaxDeltas)
                SendPage();
        }

        while (page.Count > 0)
            SendPage();
        var end = ReplyWithClock();
        end.UInt64(directory.Log.Incarnation);
        end.UInt64(snapshot.Sequence);
        _socket.Send(end, FrameType.PeerSnapshotEnd, WireStatus.Ok, requestId);

        void SendPage()
        {
            var part = CollectionsMarshal.AsSpan(page)[..Math.Min(page.Count, BlockConnection.MaxDeltas)];
            var reply = ReplyWithClock();
            reply.UInt64(directory.Log.Incarnation);
            reply.UInt64(snapshot.Sequence);
            WriteDeltas(reply, part);
            _socket.Send(reply, FrameType.PeerSnapshotPage, WireStatus.Ok, requestId);
            page.RemoveRange(0, part.Length);
        }
    }

    // Read behind what is told: it is later than all of that.
    private WireWriter ReplyWithClock()
    {
        var reply = Reply();
        WireFields.Add(reply, WireFields.Clock, _server.Store.Clock);
        WireFields.End(reply);
        return reply;
    }

    private static void WriteDeltas(WireWriter writer, ReadOnlySpan<IndexDelta> deltas) =>
        IndexDeltaCodec.Encode(deltas, writer.Take(IndexDeltaCodec.BytesOf(deltas.Length)));
}
