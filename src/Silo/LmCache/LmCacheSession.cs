using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using KvCache.Engine.Wire;
using KvCache.Silo.Connections;
using KvCache.Silo.Values;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.LmCache;

/// <summary>One connection of the <c>lm://</c> endpoint. Requests are answered in their order; a PUT is never answered, as its client reads
/// no reply.</summary>
internal sealed class LmCacheSession : Connection
{
    // "LMCA" as a number: a group of engine keys that no engine uses.
    private const int Group = 0x4C4D4341;

    private readonly LmCacheServer _server;
    private readonly SocketTransport _transport;
    private readonly byte[] _request = new byte[LmCacheHeader.RequestBytes];
    private string _tenant;
    private NamespaceId _namespace;
    private readonly byte[] _reply = new byte[LmCacheHeader.ReplyBytes];

    public LmCacheSession(LmCacheServer server, ByteChannel channel, string peer, ILogger logger)
        : base(channel, peer, server.Options, server.Counters, logger)
    {
        _server = server;
        _tenant = server.Options.Tenant;
        _namespace = server.Namespace;
        _transport = new SocketTransport(channel);
    }

    public override bool AsksProof => false;

    protected override long ReceivedBytes => _transport.ReceivedBytes;

    protected override long SentBytes => _transport.SentBytes;

    protected override void Certify(X509Certificate2 certificate)
    {
        if (_server.Tls?.TenantOf(certificate) is { } tenant)
            (_tenant, _namespace) = (tenant, _server.NamespaceOf(tenant));
    }

    protected override void Serve()
    {
        int begun;
        while ((begun = _transport.Receive(_request)) > 0)
        {
            BeginFrame();
            Fill(_request.AsSpan(begun));
            var began = Stopwatch.GetTimestamp();
            if (!Authenticated && !TryAdmit(_tenant))
                return; // the protocol has no words for it
            var key = LmCacheHeader.Parse(_request, out var command, out var length, out var shape);
            if (Serve((LmCacheCommand)command, key, length, in shape) is not { } type)
                return;
            _server.Counters.Took(type, Stopwatch.GetElapsedTime(began));
            EndFrame();
        }
    }

    // There are no words for it in the protocol, and a client takes whatever comes for the reply that it waits for.
    protected override void TellFailure()
    {
    }

    // The request's name for the metrics, or null when nobody knows where the next one begins.
    private string? Serve(LmCacheCommand command, ReadOnlySpan<byte> key, int length, in LmCacheShape shape)
    {
        switch (command)
        {
            case LmCacheCommand.Put when length >= 0 && length <= _server.Options.MaxValueSize.Bytes:
                Put(key, length, in shape);
                return "lm.put";
            case LmCacheCommand.Get:
                Get(key);
                return "lm.get";
            case LmCacheCommand.Exist:
                Reply(key.Length > 0 && _server.Values.Exists(KeyOf(key)));
                return "lm.exist";
            case LmCacheCommand.List:
                Reply(false); // keys are stored as hashes, and a list of a whole cluster serves nobody
                return "lm.list";
            case LmCacheCommand.Health:
                Reply(true);
                return "lm.health";
            default:
                _server.Counters.BadFrame();
                LogRejected(Peer, command == LmCacheCommand.Put
                    ? $"a value of {length} bytes was announced"
                    : $"{(int)command} is not a command of LMCache's protocol");
                return null;
        }
    }

    // What cannot be stored is received all the same: the client does not ask, and goes on with its next request.
    private void Put(ReadOnlySpan<byte> key, int length, in LmCacheShape shape)
    {
        Span<byte> label = stackalloc byte[LmCacheShape.Bytes];
        LmCacheHeader.WriteShape(label, in shape);
        if (length > 0)
            _transport.WaitForBytes(); // what was only announced is worth no memory
        using var write = key.IsEmpty ? null : _server.Values.Begin(KeyOf(key), length, label);
        if (write is not { HasMemory: true })
        {
            Skip(length);
            return;
        }

        while (write.Missing > 0)
        {
            _transport.Expect(write.Missing);
            write.Advance(Some(write.Next));
        }

        _transport.Expect(0);
        write.Finish(_server.Terms);
    }

    private void Get(ReadOnlySpan<byte> key)
    {
        using var lease = key.IsEmpty ? null : _server.Values.Find(KeyOf(key));
        if (lease is null || !LmCacheHeader.TryReadShape(ValueBlocks.LabelOf(lease), out var shape))
        {
            Reply(false);
            return;
        }

        var value = ValueBlocks.ValueOf(lease);
        LmCacheHeader.Write(_reply, LmCacheHeader.Ok, value.Length, in shape);
        _transport.Send(_reply, value, default);
    }

    private void Reply(bool good)
    {
        var shape = LmCacheShape.None;
        LmCacheHeader.Write(_reply, good ? LmCacheHeader.Ok : LmCacheHeader.Failed, 0, in shape);
        _transport.Send(_reply, default, default);
    }

    // With or without a format in front: two formats of one chunk are two values.
    private BlockKey KeyOf(ReadOnlySpan<byte> key) => new(_namespace, PrefixHasher.HashEngineKey(key, Group));

    private void Fill(Span<byte> destination)
    {
        while (destination.Length > 0)
            destination = destination[Some(destination)..];
    }

    private void Skip(int bytes)
    {
        Span<byte> scratch = stackalloc byte[16 * 1024];
        while (bytes > 0)
            bytes -= Some(scratch[..Math.Min(bytes, scratch.Length)]);
    }

    private int Some(Span<byte> destination)
    {
        var got = _transport.Receive(destination);
        return got > 0
            ? got
            : throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection in the middle of a request.");
    }
}
