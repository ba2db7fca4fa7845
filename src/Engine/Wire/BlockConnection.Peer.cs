using System.Runtime.InteropServices;
using KvCache.Binary;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;

namespace KvCache.Engine.Wire;

/// <summary>Everything but the bytes that a copy of a block has to know.</summary>
/// <param name="Key">The block.</param>
/// <param name="Generation">The write that produced the bytes.</param>
/// <param name="Layout">Shape of the block.</param>
/// <param name="ExpiresAt">End of its life by the clock of who reads this; null for as long as memory lasts.</param>
/// <param name="Durability">What its writer asked for.</param>
/// <param name="Lineage">Where it stands in its prefix.</param>
internal sealed record PeerBlockHeader(
    BlockKey Key, ulong Generation, KvLayout Layout, DateTimeOffset? ExpiresAt, BlockDurability Durability, BlockLineage Lineage);

/// <summary>What a silo says about itself with every answer to <see cref="BlockConnection.ReadDeltas"/>.</summary>
/// <param name="Incarnation">Id of its log.</param>
/// <param name="First">Number of the first delta, or the oldest that is kept when <paramref name="Count"/> is <see
/// cref="IndexLog.Gap"/>.</param>
/// <param name="Count">Number of deltas, or <see cref="IndexLog.Gap"/>.</param>
/// <param name="Next">Number that its next delta will get: how far behind the reader is.</param>
/// <param name="AvailableBytes">Arena memory that a write could get there.</param>
/// <param name="Clock">Its hybrid clock: later than every generation that it has told.</param>
internal readonly record struct PeerNews(ulong Incarnation, ulong First, int Count, ulong Next, long AvailableBytes, ulong Clock);

/// <content>What silos ask each other, on a connection that was authenticated with the cluster's secret and the empty tenant.</content>
internal sealed partial class BlockConnection
{
    /// <summary>Most deltas of one frame.</summary>
    public const int MaxDeltas = 16_384;

    /// <summary>Asks for what changed, and waits a while when nothing did.</summary>
    /// <param name="from">Number of the first delta wanted.</param>
    /// <param name="wait">Longest wait of the peer.</param>
    /// <param name="deltas">Receives them; at least <see cref="MaxDeltas"/> long.</param>
    public PeerNews ReadDeltas(ulong from, TimeSpan wait, Span<IndexDelta> deltas)
    {
        var request = Begin();
        request.UInt64(from);
        request.UInt32((uint)wait.TotalMilliseconds);
        var reader = Exchange(FrameType.PeerDeltas, FrameType.PeerDeltasReply);
        ulong incarnation = reader.UInt64(), first = reader.UInt64(), next = reader.UInt64();
        var available = (long)reader.UInt64();
        var gap = reader.UInt8() != 0;
        var count = IndexDeltaCodec.Decode(reader.Bytes(reader.Remaining), deltas);
        return new PeerNews(
            incarnation, first, gap ? IndexLog.Gap : count, next, available, WireFields.Number(_socket.Fields, WireFields.Clock));
    }

    /// <summary>Takes over everything that the peer holds.</summary>
    /// <param name="replica">Receives it.</param>
    /// <param name="deltas">Memory for a page; at least <see cref="MaxDeltas"/> long.</param>
    /// <returns>Whether the snapshot was whole.</returns>
    public ReplicaOutcome ReadSnapshot(IndexReplica replica, Span<IndexDelta> deltas)
    {
        Begin();
        Send(FrameType.PeerSnapshot);
        var pages = 0;
        ulong ticket = 0;
        while (true)
        {
            var header = Receive(FrameType.PeerSnapshotPage, FrameType.PeerSnapshotEnd, out var reader);
            ulong incarnation = reader.UInt64(), sequence = reader.UInt64();
            replica.Witness(WireFields.Number(_socket.Fields, WireFields.Clock));
            if (pages == 0)
                ticket = replica.BeginSnapshot(incarnation, sequence);
            if (header.Type == FrameType.PeerSnapshotEnd)
            {
                reader.End();
                return replica.EndSnapshot(ticket, pages);
            }

            var count = IndexDeltaCodec.Decode(reader.Bytes(reader.Remaining), deltas);
            replica.ApplySnapshotPage(ticket, incarnation, pages++, deltas[..count]);
        }
    }

    /// <summary>Reads blocks of any namespace.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="reserve">Gives the memory for a block, or null when it is not wanted (any more).</param>
    /// <param name="arrived">Receives every block that is complete: its memory and whether its bytes match their checksums.</param>
    /// <returns>Number of blocks that the peer delivered.</returns>
    public int GetForCopy(
        ReadOnlySpan<BlockKey> keys, Func<PeerBlockHeader, BlockWrite?> reserve, Action<PeerBlockHeader, BlockWrite, bool> arrived)
    {
        var request = Begin();
        request.UInt32((uint)keys.Length);
        foreach (ref readonly var key in keys)
        {
            key.Namespace.CopyTo(request.Take(NamespaceId.Size));
            key.Hash.CopyTo(request.Take(BlockHash.Size));
        }

        Send(FrameType.PeerGet);
        for (var delivered = 0; ;)
        {
            var frame = Receive(FrameType.PeerBlock, FrameType.PeerGetEnd, out var reader);
            if (frame.Type == FrameType.PeerGetEnd)
                return delivered;
            var header = ReadPeerHeader(keys, ref reader);
            var layers = header.Layout.Layers;
            EnsureChecksums(layers);
            var expected = _expected.AsSpan(0, layers);
            reader.Bytes(layers * sizeof(uint)).CopyTo(MemoryMarshal.AsBytes(expected));
            reader.EndAligned();
            if (frame.PayloadLength != header.Layout.BlockBytes)
                throw new KvFormatException($"The peer sent {frame.PayloadLength} bytes for a block of {header.Layout.BlockBytes}.");
            delivered++;
            using var write = reserve(header);
            if (write is null)
            {
                _socket.Drain(frame.PayloadLength);
                continue;
            }

            _socket.ReceiveLayers(write.Bytes, header.Layout, header.Layout.AllLayers, write.Checksums);
            arrived(header, write, write.Checksums.SequenceEqual(expected));
        }
    }

    /// <summary>Writes what <see cref="GetForCopy"/> reads in front of the checksums.</summary>
    public static void WritePeerHeader(WireWriter writer, int index, BlockLease lease)
    {
        writer.UInt32((uint)index);
        writer.UInt64(lease.Generation);

        // What is left, and not a time of day: the clocks of two silos may be hours apart.
        writer.UInt64(lease.ExpiresAt is { } end ? (ulong)Math.Max(1, (end - DateTimeOffset.UtcNow).TotalMilliseconds) : 0);
        writer.UInt8(lease.Durability.Persisted ? WireProtocol.PutPersisted : (byte)0);
        writer.UInt8((byte)lease.Durability.Copies);
        writer.Hashes([lease.Lineage.Parent]);
        writer.UInt32((uint)lease.Lineage.Depth);
        writer.UInt64(lease.Lineage.RequestId);
        writer.UInt32((uint)lease.Lineage.SuffixTokens);
        lease.Layout.WriteTo(writer);
    }

    private static DateTimeOffset EndOf(ulong milliseconds)
    {
        var now = DateTimeOffset.UtcNow;
        return milliseconds < (DateTimeOffset.MaxValue - now).TotalMilliseconds - 1 ? now.AddMilliseconds(milliseconds)
            : DateTimeOffset.MaxValue;
    }

    private static PeerBlockHeader ReadPeerHeader(ReadOnlySpan<BlockKey> keys, ref WireReader reader)
    {
        var index = reader.Count(keys.Length - 1, "index");
        var generation = reader.UInt64();
        var left = reader.UInt64();
        var persisted = (reader.UInt8() & WireProtocol.PutPersisted) != 0;
        var copies = reader.UInt8();
        var lineage = new BlockLineage(reader.Hashes(1)[0], (int)reader.UInt32(), reader.UInt64(), (int)reader.UInt32());
        return new PeerBlockHeader(
            keys[index],
            generation,
            KvLayout.Read(ref reader),
            left == 0 ? null : EndOf(left),
            new BlockDurability(copies, persisted),
            lineage);
    }
}
