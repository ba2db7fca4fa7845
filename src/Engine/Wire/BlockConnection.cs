using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Text;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Security;

namespace KvCache.Engine.Wire;

/// <summary>
/// One connection to a silo's data plane: blocking calls, one at a time, on the thread that owns it. Everything that goes
/// wrong is an exception here; the client turns it into a miss.
/// </summary>
/// <remarks>After any exception but <see cref="SiloException"/> the connection is out of step and must be disposed.</remarks>
internal sealed partial class BlockConnection : IDisposable
{
    private readonly FrameSocket _socket;
    private readonly WireWriter _request = new(4096);
    private readonly Dictionary<NamespaceId, uint> _namespaces = [];
    private uint[] _expected = new uint[64];
    private uint[] _actual = new uint[64];
    // Begins anywhere, so that an answer that was meant for another connection fits none of this one's questions.
    private ulong _requestId = FirstRequestId();

    internal BlockConnection(FrameSocket socket) => _socket = socket;

    /// <summary>Bytes received so far.</summary>
    public long ReceivedBytes => _socket.ReceivedBytes;

    /// <summary>Bytes sent so far.</summary>
    public long SentBytes => _socket.SentBytes;

    /// <summary>Connects and authenticates.</summary>
    /// <param name="endpoint">Where the silo listens.</param>
    /// <param name="tenant">Tenant of the client.</param>
    /// <param name="secret">The tenant's secret.</param>
    /// <param name="socketBuffer">Kernel buffers in bytes; 0 for the default (<see cref="FrameSocket.ApplyBuffers"/>).</param>
    /// <param name="cancellationToken">Ends the attempt from another thread.</param>
    /// <exception cref="SocketException">Nobody listens, or the connection broke.</exception>
    /// <exception cref="SiloException">The silo refused: version, tenant, secret or limits; or its certificate is not trusted.</exception>
    /// <exception cref="KvFormatException">What listens there does not speak this protocol, or does not know the secret.</exception>
    public static BlockConnection Connect(
        SiloEndpoint endpoint, string tenant, string secret, int socketBuffer = 0, CancellationToken cancellationToken = default) =>
        Connect(endpoint, tenant, secret, null, socketBuffer, cancellationToken);

    // As above. Where the endpoint has TLS, the authorities of the machine are trusted unless others are named.
    internal static BlockConnection Connect(
        SiloEndpoint endpoint, string tenant, string secret, TlsClient? tls, int socketBuffer = 0,
            CancellationToken cancellationToken = default)
    {
        var socket = endpoint.CreateSocket();
        FrameSocket? frames = null;
        try
        {
            FrameSocket.ApplyBuffers(socket, socketBuffer);

            using (cancellationToken.UnsafeRegister(static s => ((Socket)s!).Dispose(), socket))
            {
                if (endpoint.EndPoint is DnsEndPoint name)
                    socket.Connect(
                        SiloEndpoint.Await(Dns.GetHostAddressesAsync(name.Host, CancellationToken.None), cancellationToken), name.Port);
                else
                    socket.Connect(endpoint.EndPoint);
            }

            cancellationToken.ThrowIfCancellationRequested();
            ByteChannel channel = endpoint.IsTls
                ? new TlsChannel(socket, stream => (tls ?? TlsClient.Default).Authenticate(stream, endpoint.Host))
                : new PlainChannel(socket);
            frames = new FrameSocket(channel, maxPayload: KvLayout.MaxBlockBytes);
            var connection = new BlockConnection(frames);
            using (cancellationToken.UnsafeRegister(static c => ((BlockConnection)c!).Abort(), connection))
            {
                Agree(channel);
                connection.Authenticate(tenant, Encoding.UTF8.GetBytes(secret));
            }

            cancellationToken.ThrowIfCancellationRequested();
            return connection;
        }
        catch
        {
            frames?.Dispose();
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Reads blocks into the caller's memory, up to the first that is missing or damaged.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="destinations">Memory for blocks, each as large as the layers.</param>
    /// <param name="firstDestination">Index of the first block's memory.</param>
    /// <param name="localOnly">Only what this silo holds; otherwise it fetches what it lacks from other silos and Redis.</param>
    /// <param name="delivered">Is raised for each block that is complete and verified, also when an exception is thrown later.</param>
    /// <param name="hold">What a match holds of them.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>Whether everything was delivered, a block was missing, or one was damaged.</returns>
    public MissReason Get(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range, IReadOnlyList<Memory<byte>> destinations, int firstDestination,
        bool localOnly, ref int delivered, HoldToRead hold = default, CacheHint? hint = null)
    {
        var handle = Open(ns);
        var request = Begin(hint, hold.Id);
        request.UInt32(handle);
        request.UInt8((byte)((localOnly ? WireProtocol.GetLocalOnly : 0) | (hold.Ends ? WireProtocol.GetEndsHold : 0)));
        request.UInt32((uint)range.First);
        request.UInt32((uint)range.Count);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        Send(FrameType.Get);
        var bytes = ns.Layout.RangeBytes(range);
        EnsureChecksums(range.Count);
        Span<uint> expected = _expected.AsSpan(0, range.Count), actual = _actual.AsSpan(0, range.Count);
        (int Index, ulong Generation)? damaged = null;
        var complete = 0;
        for (var next = 0; ; next++)
        {
            var header = Receive(FrameType.GetBlock, FrameType.GetEnd, out var reader);
            if (header.Type == FrameType.GetEnd)
                break;
            if (next >= hashes.Length || reader.UInt32() != next || header.PayloadLength != bytes)
                throw new KvFormatException("The silo sent a block that was not asked for.");
            var generation = reader.UInt64();
            reader.Bytes(range.Count * sizeof(uint)).CopyTo(MemoryMarshal.AsBytes(expected));
            reader.EndAligned();
            if (damaged is not null)
            {
                _socket.Drain(bytes);
                continue;
            }

            _socket.ReceiveLayers(destinations[firstDestination + next].Span, ns.Layout, range, actual);
            if (actual.SequenceEqual(expected))
                (complete, delivered) = (complete + 1, delivered + 1);
            else
                damaged = (next, generation);
        }

        if (damaged is not { } block)
            return complete == hashes.Length ? MissReason.None : MissReason.Absent;
        Verify(ns, hashes[block.Index], block.Generation);
        return MissReason.Corrupt;
    }

    /// <summary>Stores blocks of one chain.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">One a block.</param>
    /// <param name="parent">Hash of the block before the first one, or zero.</param>
    /// <param name="depth">Index of the first block in its chain.</param>
    /// <param name="blocks">Bytes of blocks.</param>
    /// <param name="firstBlock">Index of the first block's bytes.</param>
    /// <param name="options">Time to live and what eviction should know.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>One outcome a block, and where there is more room.</returns>
    public PutReply Put(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, BlockHash parent, int depth, IReadOnlyList<ReadOnlyMemory<byte>> blocks,
        int firstBlock, StoreOptions options, CacheHint? hint = null)
    {
        var handle = Open(ns);
        var request = Begin(hint);
        WritePut(request, handle, hashes, parent, depth, options);
        request.Align();
        _socket.SendPut(request, NextRequestId(), blocks, firstBlock, hashes.Length, ns.Layout);
        try
        {
            var reply = ReadPutReply(FrameType.PutReply, hashes.Length);
            _socket.EndPut();
            return reply;
        }
        catch (SiloException)
        {
            _socket.EndPut(); // a refusal comes behind the last byte
            throw;
        }
    }

    /// <summary>Keeps blocks from eviction, or no longer.</summary>
    /// <returns>Number of blocks for which it worked.</returns>
    public int Pin(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, TimeSpan duration)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.UInt64(WireProtocol.Milliseconds(duration));
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        return CountDone(FrameType.Pin, FrameType.PinReply, hashes.Length);
    }

    /// <summary>Sets the life of blocks.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="life">Their life from now on; null for as long as memory lasts.</param>
    /// <returns>Number of blocks for which it worked.</returns>
    public int Expire(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, TimeSpan? life)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.UInt64(life is { } some ? WireProtocol.Milliseconds(some) : 0);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        return CountDone(FrameType.Expire, FrameType.ExpireReply, hashes.Length);
    }

    /// <summary>Tells what is known of a chain after it was used.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The chain, or its end, at most <see cref="WireProtocol.MaxBlocksPerRequest"/> blocks.</param>
    /// <param name="hint">What is known.</param>
    /// <returns>Blocks of it that somebody has, counted from the first one given.</returns>
    public int Hint(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, CacheHint hint)
    {
        var handle = Open(ns);
        var request = Begin(hint);
        request.UInt32(handle);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        return Count(FrameType.Hint, FrameType.HintReply);
    }

    /// <summary>Deletes all blocks of a namespace.</summary>
    /// <returns>What is deleted so far, and whether that is all.</returns>
    public DeleteResult Clear(CacheNamespace ns)
    {
        var handle = Open(ns);
        Begin().UInt32(handle);
        var reader = Exchange(FrameType.Clear, FrameType.ClearReply);
        var result = new DeleteResult(reader.Count(int.MaxValue, "count"), reader.UInt8() == 1);
        reader.End();
        return result;
    }

    /// <summary>Deletes blocks.</summary>
    public DeleteResult Delete(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        var outcomes = Items(FrameType.Delete, FrameType.DeleteReply, hashes.Length);
        return new DeleteResult(
            outcomes.Count((byte)ItemOutcome.Done),
            outcomes.IndexOfAnyExcept((byte)ItemOutcome.Done, (byte)ItemOutcome.Nothing) < 0);
    }

    /// <summary>Ends the hold of a match that was made on this connection.</summary>
    public bool Release(ulong holdId)
    {
        Begin().UInt64(holdId);
        return Count(FrameType.Release, FrameType.ReleaseReply) == 1;
    }

    /// <summary>The silo's counters, as JSON in UTF-8.</summary>
    public byte[] Stat()
    {
        Begin();
        Send(FrameType.Stat);
        var reader = Reply(FrameType.StatReply);
        return reader.Bytes(reader.Remaining).ToArray();
    }

    /// <summary>Whether the silo has said that it is about to leave.</summary>
    public bool IsLeaving { get; private set; }

    /// <summary>Ends the connection from any thread; a call in progress fails.</summary>
    public void Abort() => _socket.Abort();

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private static void Agree(ByteChannel channel)
    {
        try
        {
            channel.Handshake();
        }
        catch (AuthenticationException e)
        {
            throw new SiloException(WireStatus.AuthenticationFailed, e.Message, e);
        }
    }

    private void Authenticate(string tenant, byte[] secret)
    {
        var nonce = RandomNumberGenerator.GetBytes(WireProtocol.NonceSize);
        var request = Begin();
        request.UInt16(WireProtocol.OldestVersion);
        request.UInt16(WireProtocol.Version);
        request.Bytes(nonce);
        request.Text(tenant);
        var reader = Exchange(FrameType.Hello, FrameType.HelloReply);
        var version = reader.UInt16();
        if (version is < WireProtocol.OldestVersion or > WireProtocol.Version)
            throw new KvFormatException(
                $"The silo chose version {version}; {WireProtocol.OldestVersion} to {WireProtocol.Version} were offered.");
        var serverNonce = reader.Bytes(WireProtocol.NonceSize).ToArray();
        reader.End();

        request = Begin();
        request.Bytes(WireProtocol.ClientProof(secret, nonce, serverNonce, tenant));
        reader = Exchange(FrameType.Authenticate, FrameType.AuthenticateReply);
        if (!CryptographicOperations.FixedTimeEquals(
            reader.Bytes(WireProtocol.ProofSize), WireProtocol.ServerProof(secret, nonce, serverNonce, tenant)))
            throw new KvFormatException("What listens there does not know the tenant's secret: it is not a silo of this cluster.");
    }

    private uint Open(CacheNamespace ns)
    {
        if (_namespaces.TryGetValue(ns.Id, out var handle))
            return handle;
        Begin().Bytes(ns.Encoded);
        var reader = Exchange(FrameType.OpenNamespace, FrameType.OpenNamespaceReply);
        handle = reader.UInt32();
        if (NamespaceId.Read(reader.Bytes(NamespaceId.Size)) != ns.Id)
            throw new KvFormatException("The silo computes another id for the namespace: client and silo do not agree on docs/hashing.md.");
        reader.End();
        _namespaces.Add(ns.Id, handle);
        return handle;
    }

    /// <summary>Asks the silo to check a block that was found damaged; it drops the block when its memory is.</summary>
    public void Verify(CacheNamespace ns, BlockHash hash, ulong generation)
    {
        var handle = Open(ns);
        var request = Begin();
        request.UInt32(handle);
        request.Hashes([hash]);
        request.UInt64(generation);
        _ = Count(FrameType.Verify, FrameType.VerifyReply);
    }

    private static void WritePut(
        WireWriter request, uint handle, ReadOnlySpan<BlockHash> hashes, BlockHash parent, int depth, StoreOptions options, byte flags = 0)
    {
        request.UInt32(handle);
        request.UInt64(options.TimeToLive is { } life ? WireProtocol.Milliseconds(life) : 0);
        request.UInt8((byte)(flags | (options.Durability == Durability.Persisted ? WireProtocol.PutPersisted : 0)
            | (options.RefreshLife ? 0 : WireProtocol.PutKeepsLife)));
        request.UInt8((byte)options.Replicas);
        request.Hashes([parent]);
        request.UInt32((uint)depth);
        request.UInt64(options.RequestId);
        request.UInt32((uint)options.SuffixTokens);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
    }

    private PutReply ReadPutReply(FrameType type, int blocks)
    {
        var reader = Reply(type);
        var count = reader.Count(blocks, "blocks");
        var outcomes = MemoryMarshal.Cast<byte, PutOutcome>(reader.Bytes(count)).ToArray();
        var alternatives = Endpoints(ref reader);
        reader.End();
        return count == blocks
            ? new PutReply(outcomes, alternatives)
            : throw new KvFormatException($"The silo answered for {count} of {blocks} blocks.");
    }

    // With the tagged fields that requests have: a hint, a hold whose blocks are read, and one without a value.
    private WireWriter Begin(CacheHint? hint = null, ulong hold = 0, ushort flag = 0)
    {
        _request.Reset();
        _request.Take(FrameHeader.Size);
        HintField.Add(_request, hint);
        if (hold != 0)
            WireFields.Add(_request, WireFields.Hold, hold);
        if (flag != 0)
            WireFields.Add(_request, flag, []);
        if (_request.Length > FrameHeader.Size)
            WireFields.End(_request);
        return _request;
    }

    private void Send(FrameType type) => _socket.Send(_request, type, WireStatus.Ok, NextRequestId());

    // 0 stands for the whole connection.
    private ulong NextRequestId() => _requestId = _requestId == ulong.MaxValue ? 1 : _requestId + 1;

    private static ulong FirstRequestId()
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        RandomNumberGenerator.Fill(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private WireReader Exchange(FrameType request, FrameType reply)
    {
        Send(request);
        return Reply(reply);
    }

    private int Count(FrameType request, FrameType reply)
    {
        var reader = Exchange(request, reply);
        var count = reader.Count(int.MaxValue, "count");
        reader.End();
        return count;
    }

    private int CountDone(FrameType request, FrameType reply, int blocks) =>
        Items(request, reply, blocks).Count((byte)ItemOutcome.Done);

    // An answer for each block.
    private ReadOnlySpan<byte> Items(FrameType request, FrameType reply, int blocks)
    {
        var reader = Exchange(request, reply);
        if (reader.Count(blocks, "blocks") != blocks)
            throw new KvFormatException($"The silo did not answer for all of {blocks} blocks.");
        var items = reader.Bytes(blocks);
        reader.End();
        return items;
    }

    private WireReader Reply(FrameType type)
    {
        Receive(type, type, out var reader);
        return reader;
    }

    private FrameHeader Receive(FrameType type, FrameType alternative, out WireReader reader)
    {
        if (!_socket.TryReceive(out var header, out var meta))
            throw new SocketException((int)SocketError.ConnectionReset, "The silo closed the connection.");
        reader = new WireReader(meta);
        if (header.Type == FrameType.Error && (header.RequestId == _requestId || header.RequestId == 0))
            throw new SiloException(header.Status, reader.Text(ushort.MaxValue, "message"));
        if (header.FieldBytes > 0)
            IsLeaving |= WireFields.TryFind(_socket.Fields, WireFields.Leaving, out _);
        if (header.FieldBytes > 0 && WireFields.FirstUnknown(_socket.Fields) is var tag and not 0)
            throw new KvFormatException(
                $"The silo's answer has the field 0x{tag:x4}, which must be understood, and version {WireProtocol.Version} does not know "
                    + "it.");
        if (header.RequestId != _requestId || (header.Type != type && header.Type != alternative))
            throw new KvFormatException(
                $"The silo answered request {_requestId} with a frame of type {(byte)header.Type} for request {header.RequestId}.");
        return header;
    }

    private void EnsureChecksums(int layers)
    {
        if (_expected.Length >= layers)
            return;
        _expected = new uint[layers];
        _actual = new uint[layers];
    }
}
