using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;

namespace KvCache.Silo.Data;

/// <content>Blocks that do not cross the socket: read in the mapped arena, written into a lent segment.</content>
internal sealed partial class Session
{
    private const int MappedHeadBytes = sizeof(ulong) + sizeof(uint); // id and number of blocks

    private PeerProcess? _process;
    private SealedSegment? _segment;

    private void MapArena(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var wanted = (long)reader.UInt64();
        reader.End();
        if (!_server.Options.SharedMemory)
            throw new ProtocolException(
                WireStatus.InvalidRequest, $"This silo does not share its memory; {DataPlaneOptions.Section}:SharedMemory is off.");
        _process ??= _socket.PeerProcess
            ?? throw new ProtocolException(
                WireStatus.InvalidRequest, "Memory is shared over a Unix socket, with processes of the silo's own PID namespace only.");
        if (wanted > 0 && _segment is null)
            LendSegment(Math.Clamp(wanted, Arena.PageBytes, _server.Options.MaxSegmentBytes.Bytes));
        var reply = Reply();
        reply.UInt64(_server.ArenaId);
        reply.UInt64((ulong)_server.Store.Arena.Capacity);
        reply.Text(_server.ArenaPath);
        reply.UInt64((ulong)(_segment?.Bytes ?? 0));
        reply.Text(_segment?.Path ?? "");
        _socket.Send(reply, FrameType.MapArenaReply, WireStatus.Ok, requestId);
    }

    private void GetMapped(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var ns = Namespace(ref reader);
        var flags = reader.UInt8();
        var hashes = reader.Hashes(reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks"));
        reader.End();
        var process = Mapped();
        using var leases = new LeaseList();
        var perBlock = (2 * sizeof(ulong)) + (ns.Layout.Layers * sizeof(uint));
        var most = Math.Min(hashes.Length, (WireProtocol.MaxMetaBytes - 64) / perBlock);
        LeaseRun(ns, hashes, most, (byte)(flags & WireProtocol.GetLocalOnly),
            Math.Min(_server.Mapped.FreeBytes(process), _account!.FreeToHold), leases);

        // Written while they are surely held: afterwards they are the process'.
        var reply = Reply();
        reply.Take(MappedHeadBytes);
        foreach (var lease in leases)
        {
            reply.UInt64(lease.Generation);
            reply.UInt64((ulong)lease.Offset);
            reply.Bytes(MemoryMarshal.AsBytes(lease.Checksums));
        }

        var count = leases.Count;
        var id = count == 0 ? 0 : _server.Mapped.Add(process, _account, leases);
        if (id == 0)
        {
            count = 0;
            reply = Reply();
            reply.Take(MappedHeadBytes);
        }

        var head = reply.Writable[FrameHeader.Size..];
        BinaryPrimitives.WriteUInt64LittleEndian(head, id);
        BinaryPrimitives.WriteUInt32LittleEndian(head[sizeof(ulong)..], (uint)count);
        _socket.Send(reply, FrameType.GetMappedReply, WireStatus.Ok, requestId);
    }

    private void PutMapped(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var offset = (long)reader.UInt64();
        var put = ReadPut(ref reader);
        var layout = put.Namespace.Layout;
        _ = Mapped();
        if (put.ByLayers)
            throw new ProtocolException(
                WireStatus.InvalidRequest, "Blocks in a segment lie one behind another; they are not put by layers.");
        if (_segment is not { } segment || offset < 0 || offset > segment.Bytes - ((long)put.Hashes.Length * layout.BlockBytes))
            throw new ProtocolException(
                WireStatus.InvalidRequest,
                $"{put.Hashes.Length} blocks of {layout.BlockBytes} bytes from {offset} on do not lie in the segment of "
                + $"{_segment?.Bytes ?? 0} bytes.");
        var outcomes = _puts.Copy(put, segment, offset);
        SendOutcomes(FrameType.PutMappedReply, requestId, put, outcomes);
    }

    // Without one, the client puts over the socket.
    private void LendSegment(long bytes)
    {
        if (!_server.Quotas.TryLend(_account!, bytes))
            return;
        try
        {
            _segment = SealedSegment.Create(bytes);
        }
        finally
        {
            if (_segment is null)
                _server.Quotas.EndLend(_account!, bytes);
        }
    }

    private void EndSegment()
    {
        if (_segment is not { } segment)
            return;
        var bytes = segment.Bytes;
        segment.Dispose();
        _server.Quotas.EndLend(_account!, bytes);
    }

    private PeerProcess Mapped() =>
        _process ?? throw new ProtocolException(
        WireStatus.InvalidRequest, "The arena was not mapped on this connection; map arena (13) comes first.");
}
