using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Connections;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Data;

/// <summary>One connection of the data plane: its thread, its tenant, its namespaces and its holds.</summary>
internal sealed partial class Session : Connection
{
    // Blocks of all ranks of a match of which is told where they are, and bytes of an answer that takes another rank's.
    private const int MostLocated = 1 << 16;
    private const int MostLocationBytes = WireProtocol.MaxMetaBytes / 4;

    private readonly BlockServer _server;
    private readonly FrameSocket _socket;
    private readonly WireWriter _reply = new(1024);
    private readonly WireWriter _end = new(64);
    private readonly List<CacheNamespace> _namespaces = [];
    private readonly List<NamespaceId> _ranks = [];
    private readonly HoldTable _holds;
    private readonly PutPipeline _puts;
    private string _tenant = "";
    private string? _certified; // the tenant that its certificate stands for
    private TenantAccount? _account; // known with the proof
    private bool _isPeer;
    private bool _movesBlocks;
    private ulong[] _masks = [];

    public Session(BlockServer server, ByteChannel channel, string peer, ILogger logger)
        : base(channel, peer, server.Options, server.Counters, logger)
    {
        _server = server;
        _socket = new FrameSocket(channel, MaxMetaBeforeProof, maxPayload: 0);
        _holds = new HoldTable(server.Holds, (long)(server.Options.MaxHeldShare * server.Store.Arena.Capacity));
        _puts = new PutPipeline(server.Writer, server.Options.PutWindow, _socket, ContinueFrame);
    }

    protected override long ReceivedBytes => _socket.ReceivedBytes;

    protected override long SentBytes => _socket.SentBytes;

    public override void Watch(long now)
    {
        _holds.Expire(now);
        base.Watch(now);
    }

    public override void Dispose()
    {
        _puts.Dispose();
        _holds.Dispose();
        EndSegment();
        base.Dispose();
    }

    protected override void Certify(X509Certificate2 certificate) => _certified = _server.Tls?.TenantOf(certificate);

    protected override void Serve()
    {
        try
        {
            ThreadSlice.ForSmallRequests();
            BeginFrame(); // the handshake is one frame to the watchdog
            Authenticate();
            EndFrame();
            while (_socket.WaitForFrame())
            {
                BeginFrame();
                var began = Stopwatch.GetTimestamp();
                var meta = _socket.ReceiveFrame(out var header);
                Serve(header, meta);
                _server.Counters.Took(header.Type, Stopwatch.GetElapsedTime(began));
                EndFrame();
            }
        }
        catch (ProtocolException e)
        {
            _server.Counters.Rejected();
            LogRejected(Peer, e.Message);
            SendError(0, e);
        }
        catch (KvFormatException e)
        {
            _server.Counters.BadFrame();
            LogRejected(Peer, e.Message);
            SendError(0, new ProtocolException(WireStatus.BadFrame, e.Message));
        }
    }

    protected override void TellFailure() => SendError(0, new ProtocolException(WireStatus.Internal, "The silo failed; its log says why."));

    private void Serve(FrameHeader header, ReadOnlySpan<byte> meta)
    {
        if (header.PayloadLength != 0 && header.Type is not (FrameType.Put or FrameType.PutValue))
            throw new KvFormatException(
                $"A frame of type {(byte)header.Type} has no payload, {header.PayloadLength} bytes were announced.");
        Slice(header.Type is FrameType.Get or FrameType.GetLayers or FrameType.Put or FrameType.PutMapped or FrameType.PeerGet);
        try
        {
            if (header.FieldBytes > 0)
                RefuseUnknownFields(header);
            switch (header.Type)
            {
                case FrameType.OpenNamespace: OpenNamespace(header.RequestId, meta); break;
                case FrameType.Match: Match(header.RequestId, meta); break;
                case FrameType.Get: Get(header.RequestId, meta); break;
                case FrameType.Put: Put(header, meta); break;
                case FrameType.Pin: Pin(header.RequestId, meta); break;
                case FrameType.Delete: Delete(header.RequestId, meta); break;
                case FrameType.Expire: Expire(header.RequestId, meta); break;
                case FrameType.Hint: Hint(header.RequestId, meta); break;
                case FrameType.Clear: Clear(header.RequestId, meta); break;
                case FrameType.Release: Release(header.RequestId, meta); break;
                case FrameType.Stat: Stat(header.RequestId, meta); break;
                case FrameType.Verify: Verify(header.RequestId, meta); break;
                case FrameType.Locate: Locate(header.RequestId, meta); break;
                case FrameType.MapArena: MapArena(header.RequestId, meta); break;
                case FrameType.GetMapped: GetMapped(header.RequestId, meta); break;
                case FrameType.PutMapped: PutMapped(header.RequestId, meta); break;
                case FrameType.GetLayers: GetLayers(header.RequestId, meta); break;
                case FrameType.PutValue: PutValue(header, meta); break;
                case FrameType.GetValue: GetValue(header.RequestId, meta); break;
                case FrameType.PeerGet when _isPeer: PeerGet(header.RequestId, meta); break;
                case FrameType.PeerDeltas when _isPeer: PeerDeltas(header.RequestId, meta); break;
                case FrameType.PeerSnapshot when _isPeer: PeerSnapshot(header.RequestId, meta); break;
                default:
                    throw new KvFormatException(
                    $"The frame type {(byte)header.Type} is not a request of version {WireProtocol.Version}.");
            }
        }
        catch (ProtocolException e) when (!e.Fatal)
        {
            SendError(header.RequestId, e);
        }
    }

    // As the last request was, the next one will be: most clients have different connections for blocks and for small requests.
    private void Slice(bool movesBlocks)
    {
        if (movesBlocks == _movesBlocks)
            return;
        _movesBlocks = movesBlocks;
        if (movesBlocks)
            ThreadSlice.ForBulk();
        else
            ThreadSlice.ForSmallRequests();
    }

    private void OpenNamespace(ulong requestId, ReadOnlySpan<byte> meta)
    {
        CacheNamespace ns;
        try
        {
            ns = CacheNamespace.Decode(meta);
        }
        catch (KvFormatException e)
        {
            // The frame is whole and the connection in step: a namespace with a bad field does not cost the holds of the others.
            throw new ProtocolException(WireStatus.InvalidRequest, e.Message);
        }

        if (ns.Tenant != _tenant)
            throw new ProtocolException(WireStatus.NamespaceForbidden, "The namespace belongs to another tenant than the connection.");
        var handle = _namespaces.IndexOf(ns);
        if (handle < 0)
        {
            if (_namespaces.Count >= _server.Options.MaxNamespaces)
                throw new ProtocolException(
                    WireStatus.LimitExceeded, $"A connection opens at most {_server.Options.MaxNamespaces} namespaces.");
            handle = _namespaces.Count;
            _namespaces.Add(ns);
        }

        var reply = Reply();
        reply.UInt32((uint)handle);
        ns.Id.CopyTo(reply.Take(NamespaceId.Size));
        _socket.Send(reply, FrameType.OpenNamespaceReply, WireStatus.Ok, requestId);
    }

    private void Match(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var hold = TimeSpan.FromMilliseconds(reader.UInt32());
        var ranks = reader.Count(WireProtocol.MaxNamespacesPerMatch, "namespaces");
        var namespaces = _ranks;
        namespaces.Clear();
        for (var i = 0; i < ranks; i++)
            namespaces.Add(Namespace(ref reader).Id);
        var hashes = reader.Hashes(reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks"));
        reader.End();
        if (ranks == 0)
            throw new ProtocolException(WireStatus.InvalidRequest, "A match names at least one namespace.");
        var found = hashes.Length;
        if (HintField.Read(_socket.Fields) is { } hint)
        {
            foreach (var ns in namespaces)
                _server.Cluster.Hint(ns, hashes, Masks(hashes.Length), hint, ends: false);
        }

        var located = WireFields.TryFind(_socket.Fields, WireFields.WithLocations, out _)
            ? Math.Min(namespaces.Count, MostLocated / Math.Max(1, hashes.Length))
            : 0;
        var masks = Masks(Math.Min(located + 1, namespaces.Count) * hashes.Length);
        for (var i = 0; i < namespaces.Count; i++)
            found = _server.Cluster.Match(namespaces[i], hashes[..found], masks[(Math.Min(i, located) * hashes.Length)..]);
        ulong holdId = 0;
        if (hold > TimeSpan.Zero && found > 0)
        {
            hold = hold < _server.Options.MaxHold ? hold : _server.Options.MaxHold;
            using var leases = new LeaseList();
            foreach (var ns in namespaces)
                _server.Cluster.Hold(ns, hashes[..found], _holds.FreeBytes, leases);
            if (leases.Count > 0)
                holdId = _holds.Add(leases, Stopwatch.GetTimestamp() + (long)(hold.TotalSeconds * Stopwatch.Frequency));
        }

        _server.Counters.Matched(found, hashes.Length);
        var reply = Reply();
        reply.UInt32((uint)found);
        reply.UInt64(holdId);
        reply.UInt32(holdId == 0 ? 0 : (uint)hold.TotalMilliseconds);
        for (var i = 0; i < located && reply.Length < MostLocationBytes; i++)
        {
            var holders = masks.Slice(i * hashes.Length, found);
            _server.Cluster.NoteReads(namespaces[i], hashes[..found], holders);
            _server.Cluster.WriteLocations(reply, holders, _server.Endpoints);
        }

        _socket.Send(reply, FrameType.MatchReply, WireStatus.Ok, requestId);
    }

    private void Locate(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadBlocks(meta, hasNumber: false, out _, out var hashes);
        var masks = Masks(hashes.Length);
        var found = _server.Cluster.Match(ns, hashes, masks);
        if (!WireFields.TryFind(_socket.Fields, WireFields.NotARead, out _))
            _server.Cluster.NoteReads(ns, hashes[..found], masks);
        var reply = Reply();
        _server.Cluster.WriteLocations(reply, masks[..found], _server.Endpoints);
        _socket.Send(reply, FrameType.LocateReply, WireStatus.Ok, requestId);
    }

    private Span<ulong> Masks(int count)
    {
        if (_masks.Length < count)
            _masks = new ulong[count];
        return _masks;
    }

    private void Get(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadGet(
            meta, WireProtocol.GetContinuePastMisses | WireProtocol.GetLocalOnly | WireProtocol.GetEndsHold, out var flags,
                out var range, out var hashes);
        var delivered = 0;
        var request = BeginRequest(ns, hashes);
        using var hold = UseHold(flags);
        using var leases = new LeaseList();
        for (var i = 0; i < hashes.Length; i++)
        {
            ContinueFrame();
            var held = hold?.Find(new BlockKey(ns.Id, hashes[i]));
            if (held is not null && !_server.Store.TryUse(held, request))
                held = null;
            var lease = held ?? Lease(ns.Id, hashes[i..], flags, request);
            leases.Dispose(); // the block before it, only now: what comes before both stays locked, and is not walked over again
            if (lease is not null && held is null)
                leases.Add(lease);
            var reply = Reply();
            reply.UInt32((uint)i);
            if (lease is null)
            {
                _server.Counters.MissAbsent(_account!);
                if ((flags & WireProtocol.GetContinuePastMisses) == 0)
                    break;
                _socket.Send(reply, FrameType.GetBlock, WireStatus.Miss, requestId);
                continue;
            }

            _server.Counters.Hit(_account!, lease.Layout.TokensPerBlock);
            reply.UInt64(lease.Generation);
            reply.Bytes(MemoryMarshal.AsBytes(lease.Checksums.Slice(range.First, range.Count)));
            reply.Align();
            delivered++;
            if (i + 1 == hashes.Length)
            {
                // The end travels with the last block.
                _socket.Send(reply, FrameType.GetBlock, WireStatus.Ok, requestId, lease.Layers(range), EndOfGet(requestId, delivered));
                return;
            }

            _socket.Send(reply, FrameType.GetBlock, WireStatus.Ok, requestId, lease.Layers(range));
        }

        _socket.SendAll(EndOfGet(requestId, delivered));
    }

    // The meta part of a get, and of a get of layers.
    private CacheNamespace ReadGet(
        ReadOnlySpan<byte> meta, int knownFlags, out byte flags, out LayerRange range, out ReadOnlySpan<BlockHash> hashes)
    {
        var reader = new WireReader(meta);
        var ns = Namespace(ref reader);
        flags = reader.UInt8();
        range = new LayerRange((int)reader.UInt32(), (int)reader.UInt32());
        hashes = reader.Hashes(reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks"));
        reader.End();
        if ((flags & ~knownFlags) != 0)
            throw new ProtocolException(
                WireStatus.InvalidRequest, $"The get flags 0x{flags:x2} have bits that version {WireProtocol.Version} does not know.");
        return ns.Layout.Contains(range)
            ? ns
            : throw new ProtocolException(
                WireStatus.InvalidRequest, $"The layers {range} do not lie in a block of {ns.Layout.Layers} layers.");
    }

    // The first of some blocks of a chain: what this silo holds, or what it can get too.
    private BlockLease? Lease(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, byte flags, long request) =>
        (flags & WireProtocol.GetLocalOnly) != 0
            ? _server.Fetcher.FetchHere(ns, hashes, request)
            : _server.Fetcher.Fetch(ns, hashes, request);

    // What a match keeps for this get, on whatever connection of the tenant that was; null where it names nothing that is kept.
    private HoldUse? UseHold(byte flags) =>
        _server.Holds.Use(WireFields.Number(_socket.Fields, WireFields.Hold), _account!, (flags & WireProtocol.GetEndsHold) != 0);

    private long BeginRequest(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes) =>
        _server.Store.BeginRequest(ns.Id, default, hashes, new RequestFacts(ns.Layout.TokensPerBlock, Hint: HintField.Read(_socket.Fields)));

    // Leases from the first block on, up to the first that cannot be had or is too large for the bytes that are free.
    private void LeaseRun(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, int most, byte flags, long free, LeaseList leases)
    {
        var began = Stopwatch.GetTimestamp();
        var request = BeginRequest(ns, hashes[..most]);
        for (var i = 0; i < most; i++)
        {
            var lease = Lease(ns.Id, hashes[i..], flags, request);
            if (lease is null && (flags & WireProtocol.GetFollow) != 0)
                lease = Follow(new BlockKey(ns.Id, hashes[i]), _server.Options.FollowPatience - Stopwatch.GetElapsedTime(began));
            if (lease is null)
            {
                _server.Counters.MissAbsent(_account!);
                return;
            }

            if (!leases.TryAdd(lease, free))
                return;
            _server.Counters.Hit(_account!, lease.Layout.TokensPerBlock);
        }
    }

    private ReadOnlySpan<byte> EndOfGet(ulong requestId, int delivered)
    {
        _end.Reset();
        _end.Take(FrameHeader.Size);
        _end.UInt32((uint)delivered);
        FrameHeader.Write(_end.Writable, FrameType.GetEnd, WireStatus.Ok, requestId, payloadLength: 0);
        return _end.Written;
    }

    private void Pin(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadBlocks(meta, hasNumber: true, out var milliseconds, out var hashes);
        var duration = WireProtocol.Duration(milliseconds);
        SendItems(FrameType.PinReply, requestId, _server.ForEachGrain(ns, hashes, grain => grain.PinAsync(duration)));
    }

    private void Delete(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadBlocks(meta, hasNumber: false, out _, out var hashes);
        SendItems(FrameType.DeleteReply, requestId, _server.Cluster.Delete(ns, hashes));
    }

    private void Expire(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadBlocks(meta, hasNumber: true, out var milliseconds, out var hashes);
        var life = milliseconds == 0 ? TimeSpan.MaxValue : WireProtocol.Duration(milliseconds);
        SendItems(FrameType.ExpireReply, requestId, _server.Cluster.SetTimeToLive(ns, hashes, life));
    }

    private void Hint(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var ns = ReadBlocks(meta, hasNumber: false, out _, out var hashes);
        var found = HintField.Read(_socket.Fields) is { } hint
            ? _server.Cluster.Hint(ns, hashes, Masks(hashes.Length), hint)
            : throw new ProtocolException(
                WireStatus.InvalidRequest, $"A hint has the tagged field {WireFields.Hint}, which says what is known; this one has not.");
        var reply = Reply();
        reply.UInt32((uint)found);
        _socket.Send(reply, FrameType.HintReply, WireStatus.Ok, requestId);
    }

    private void Clear(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var ns = Namespace(ref reader);
        reader.End();
        var result = _server.Cluster.ClearAsync(ns.Id, _server.Options.FrameTimeout / 2).GetAwaiter().GetResult();
        var reply = Reply();
        reply.UInt32((uint)result.Deleted);
        reply.UInt8(result.IsConfirmed ? (byte)1 : (byte)0);
        _socket.Send(reply, FrameType.ClearReply, WireStatus.Ok, requestId);
    }

    private void Release(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var id = reader.UInt64();
        reader.End();
        var released = (id & MappedLeases.IdBit) != 0
            ? (_process ?? _socket.PeerProcess) is { } process && _server.Mapped.Release(process, id)
            : _holds.Release(id);
        SendCount(FrameType.ReleaseReply, requestId, released ? 1 : 0);
    }

    private void Stat(ulong requestId, ReadOnlySpan<byte> meta)
    {
        new WireReader(meta).End();
        var reply = Reply();
        reply.Bytes(_server.StatisticsJson(_account!));
        _socket.Send(reply, FrameType.StatReply, WireStatus.Ok, requestId);
    }

    private void Verify(ulong requestId, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        var ns = Namespace(ref reader);
        var key = new BlockKey(ns.Id, reader.Hashes(1)[0]);
        var generation = reader.UInt64();
        reader.End();
        SendCount(FrameType.VerifyReply, requestId, _server.DropIfCorrupt(key, generation) ? 1 : 0);
    }

    // A namespace, for some a number, and blocks: what most requests are.
    private NamespaceId ReadBlocks(ReadOnlySpan<byte> meta, bool hasNumber, out ulong number, out ReadOnlySpan<BlockHash> hashes)
    {
        var reader = new WireReader(meta);
        var ns = Namespace(ref reader).Id;
        number = hasNumber ? reader.UInt64() : 0;
        hashes = reader.Hashes(reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks"));
        reader.End();
        return ns;
    }

    private CacheNamespace Namespace(ref WireReader reader)
    {
        var handle = reader.UInt32();
        return handle < (uint)_namespaces.Count
            ? _namespaces[(int)handle]
            : throw new ProtocolException(WireStatus.NamespaceUnknown, $"The namespace handle {handle} was not opened on this connection.");
    }

    private WireWriter Reply()
    {
        _reply.Reset();
        _reply.Take(FrameHeader.Size);
        if (!_isPeer && _server.Cluster.IsLeaving)
        {
            WireFields.Add(_reply, WireFields.Leaving, []);
            WireFields.End(_reply);
        }

        return _reply;
    }

    private void SendCount(FrameType type, ulong requestId, int count)
    {
        var reply = Reply();
        reply.UInt32((uint)count);
        _socket.Send(reply, type, WireStatus.Ok, requestId);
    }

    private void SendItems(FrameType type, ulong requestId, ItemOutcome[] outcomes)
    {
        var reply = Reply();
        reply.UInt32((uint)outcomes.Length);
        reply.Bytes(MemoryMarshal.AsBytes(outcomes.AsSpan()));
        _socket.Send(reply, type, WireStatus.Ok, requestId);
    }

    private void SendError(ulong requestId, ProtocolException error)
    {
        var reply = Reply();
        reply.Text(error.Message);
        _socket.Send(reply, FrameType.Error, error.Status, requestId);
    }
}
