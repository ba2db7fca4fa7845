using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>A client that speaks the data plane byte by byte, rightly or wrongly.</summary>
internal sealed class RawPeer : IDisposable
{
    private readonly Socket _socket;
    private readonly FrameSocket _frames;
    private ulong _requestId;

    /// <summary>Tags of fields that every frame begins with, each with three bytes of value.</summary>
    public ushort[] Fields { get; init; } = [];

    public RawPeer(string endpoint)
    {
        EndPoint address = endpoint.StartsWith("unix:", StringComparison.Ordinal)
            ? new UnixDomainSocketEndPoint(endpoint["unix:".Length..])
            : IPEndPoint.Parse(endpoint["tcp:".Length..]);
        var protocol = address is IPEndPoint ? ProtocolType.Tcp : ProtocolType.Unspecified;
        _socket = new Socket(
            address.AddressFamily, SocketType.Stream, protocol)
        { ReceiveTimeout = (int)Eventually.Bound.TotalMilliseconds };
        _socket.Connect(address);
        _frames = new FrameSocket(_socket);
    }

    /// <summary>A peer that has authenticated.</summary>
    public static RawPeer Authenticated(string endpoint, string tenant, string secret)
    {
        var peer = new RawPeer(endpoint);
        peer.Prove(tenant, secret);
        peer.ExpectReply(FrameType.AuthenticateReply, out _);
        return peer;
    }

    /// <summary>Says hello and proves to be a tenant; the silo's verdict is still to come.</summary>
    public void Prove(string tenant, string secret, ushort max = WireProtocol.Version)
    {
        var nonce = Hello(tenant, max: max);
        ExpectReply(FrameType.HelloReply, out var meta);
        Send(FrameType.Authenticate,
            writer => writer.Bytes(WireProtocol.ClientProof(System.Text.Encoding.UTF8.GetBytes(secret), nonce, meta.AsSpan(2), tenant)));
    }

    /// <summary>Sends hello and returns its nonce.</summary>
    public byte[] Hello(string tenant, ushort min = WireProtocol.Version, ushort max = WireProtocol.Version)
    {
        var nonce = RandomNumberGenerator.GetBytes(WireProtocol.NonceSize);
        Send(FrameType.Hello, writer =>
        {
            writer.UInt16(min);
            writer.UInt16(max);
            writer.Bytes(nonce);
            writer.Text(tenant);
        });
        return nonce;
    }

    /// <summary>Opens a namespace and returns its handle.</summary>
    public uint Open(CacheNamespace ns)
    {
        Send(FrameType.OpenNamespace, writer => writer.Bytes(ns.Encoded));
        ExpectReply(FrameType.OpenNamespaceReply, out var meta);
        return BitConverter.ToUInt32(meta);
    }

    /// <summary>A complete frame, for sending whole or in part.</summary>
    public byte[] Frame(FrameType type, Action<WireWriter> meta, long payload = 0)
    {
        var writer = new WireWriter();
        writer.Take(FrameHeader.Size);
        foreach (var tag in Fields)
            WireFields.Add(writer, tag, [1, 2, 3]);
        WireFields.End(writer);
        meta(writer);
        FrameHeader.Write(writer.Writable, type, WireStatus.Ok, ++_requestId, payload, writer.FieldBytes);
        return writer.Written.ToArray();
    }

    public void Send(FrameType type, Action<WireWriter> meta, long payload = 0) => _frames.SendAll(Frame(type, meta, payload));

    public void Send(ReadOnlySpan<byte> bytes) => _frames.SendAll(bytes);

    /// <summary>Sends until the silo ends the connection.</summary>
    public async Task SendUntilClosedAsync(Func<byte[]> next, TimeSpan pause)
    {
        await Eventually.TrueAsync("the silo has ended the slow connection", async () =>
        {
            await Task.Delay(pause);
            try
            {
                Send(next());
                return _socket.Poll(0, SelectMode.SelectRead); // an error frame or the end: the silo owes no answer
            }
            catch (SocketException)
            {
                return true;
            }
        });
    }

    /// <summary>The meta part of a put of blocks without a parent.</summary>
    public static Action<WireWriter> PutMeta(uint handle, KvPrefix prefix, byte flags = 0) => writer =>
    {
        writer.UInt32(handle);
        writer.UInt64(0);
        writer.UInt8(flags);
        writer.UInt8(1);
        writer.Hashes([default]);
        writer.UInt32(0);
        writer.UInt64(0);
        writer.UInt32(0);
        writer.UInt32((uint)prefix.BlockCount);
        writer.Hashes(prefix.Chain.Hashes);
    };

    public void ExpectReply(FrameType type, out byte[] meta)
    {
        if (!_frames.TryReceive(out var header, out var received))
            throw new SocketException((int)SocketError.ConnectionReset, "The silo closed the connection.");
        meta = received.ToArray();
        Assert.True(header.Type == type,
            $"{type} was expected, {header.Type} came: {(header.Type == FrameType.Error ? Sentence(meta) : "")}");
    }

    /// <summary>Expects an error frame with a sentence that contains a text.</summary>
    public void ExpectError(WireStatus status, string text)
    {
        Assert.True(_frames.TryReceive(out var header, out var meta), "The silo closed the connection without an error frame.");
        var sentence = Sentence(meta);
        Report.Line($"{header.Status}: {sentence}");
        Assert.Equal((FrameType.Error, status), (header.Type, header.Status));
        Assert.Contains(text, sentence, StringComparison.Ordinal);
    }

    /// <summary>Expects that the silo ends the connection and sends nothing more but an error frame.</summary>
    public void ExpectClosed()
    {
        try
        {
            while (_frames.TryReceive(out var header, out _))
                Assert.Equal(FrameType.Error, header.Type);
        }
        catch (SocketException e) when (e.SocketErrorCode != SocketError.TimedOut && e.SocketErrorCode != SocketError.WouldBlock)
        {
            // Reset: the silo closed while bytes were on their way to it.
        }
    }

    /// <summary>Expects that the silo answers what it understood and then ends the connection.</summary>
    public void ExpectClosedBehindReplies()
    {
        try
        {
            while (_frames.TryReceive(out var header, out _))
                _frames.Drain(header.PayloadLength);
        }
        catch (SocketException e) when (e.SocketErrorCode != SocketError.TimedOut && e.SocketErrorCode != SocketError.WouldBlock)
        {
            // Reset: the silo closed while bytes were on their way to it.
        }
    }

    public void Dispose() => _frames.Dispose();

    private static string Sentence(ReadOnlySpan<byte> meta) => new WireReader(meta).Text(ushort.MaxValue, "message");
}
