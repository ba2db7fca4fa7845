using System.Net.Sockets;
using System.Security.Cryptography;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <content>Hello and authentication.</content>
internal sealed partial class Session
{
    // Whoever has not proved who it is gets no more than a hello needs.
    private const int MaxMetaBeforeProof = 1024;

    private void Authenticate()
    {
        if (!_socket.TryReceive(out var hello, out var meta))
            throw new SocketException((int)SocketError.ConnectionReset, "The peer closed the connection before it said hello.");
        if (hello.Type != FrameType.Hello)
            throw new ProtocolException(
                WireStatus.BadFrame, $"The first frame is of type {(byte)hello.Type}; hello ({(byte)FrameType.Hello}) was expected.");
        var reader = new WireReader(meta);
        ushort min = reader.UInt16(), max = reader.UInt16();

        // Before anything else of it: what follows may be another version's.
        var version = WireProtocol.Common(min, max);
        if (version == 0)
            throw new ProtocolException(WireStatus.VersionMismatch, WireProtocol.Mismatch("The other side", min, max));
        RefuseUnknownFields();
        var clientNonce = reader.Bytes(WireProtocol.NonceSize).ToArray();
        var tenant = reader.Text(CacheNamespace.MaxTextBytes, "tenant");
        reader.End();

        var serverNonce = RandomNumberGenerator.GetBytes(WireProtocol.NonceSize);
        var reply = Reply();
        reply.UInt16(version);
        reply.Bytes(serverNonce);
        _socket.Send(reply, FrameType.HelloReply, WireStatus.Ok, hello.RequestId);

        if (!_socket.TryReceive(out var proof, out meta) || proof.Type != FrameType.Authenticate || meta.Length != WireProtocol.ProofSize)
            throw new ProtocolException(
                WireStatus.BadFrame, $"Behind hello, an authenticate frame with {WireProtocol.ProofSize} bytes was expected.");
        byte[]? secret = null;
        foreach (var valid in SecretsOf(tenant))
        {
            if (CryptographicOperations.FixedTimeEquals(meta, WireProtocol.ClientProof(valid, clientNonce, serverNonce, tenant)))
                secret = valid;
        }

        if (secret is null)
        {
            Thread.Sleep(_server.Audit.Refused("the data plane", Address, tenant, _server.Options.HandshakeTimeout / 2));
            throw new ProtocolException(WireStatus.AuthenticationFailed, "The tenant is unknown or its secret is another one.");
        }

        if (!TryAdmit(tenant))
            throw new ProtocolException(
                WireStatus.LimitExceeded,
                $"This silo serves at most {_server.Options.MaxConnections} connections at a time, and of each tenant its part; they are "
                + "taken.");
        _tenant = tenant;
        _isPeer = tenant == WireProtocol.PeerTenant;
        _account = _holds.Account = _server.Store.Accounts.Of(tenant);
        _socket.MaxMeta = WireProtocol.MaxMetaBytes;
        _socket.MaxPayload = (long)WireProtocol.MaxBlocksPerRequest * KvLayout.MaxBlockBytes;
        reply = Reply();
        reply.Bytes(WireProtocol.ServerProof(secret, clientNonce, serverNonce, tenant));
        reply.UInt32(WireProtocol.MaxMetaBytes);
        reply.UInt32(WireProtocol.MaxBlocksPerRequest);
        reply.UInt32((uint)_server.Options.MaxHold.TotalMilliseconds);
        _socket.Send(reply, FrameType.AuthenticateReply, WireStatus.Ok, proof.RequestId);
    }

    // Whatever follows the frame is read, so that the connection stays in step.
    private void RefuseUnknownFields(FrameHeader header)
    {
        try
        {
            RefuseUnknownFields();
        }
        catch (ProtocolException)
        {
            _socket.Drain(header.PayloadLength);
            throw;
        }
    }

    // What must be understood, and is not, is not done.
    private void RefuseUnknownFields()
    {
        if (WireFields.FirstUnknown(_socket.Fields) is var tag and not 0)
            throw new ProtocolException(
                WireStatus.InvalidRequest,
                $"The frame has the field 0x{tag:x4}, which must be understood, and version {WireProtocol.Version} does not know it.");
    }

    // A certificate that stands for a tenant is its secret: the proof is then made with the empty one, and no other tenant can be claimed.
    private IReadOnlyList<byte[]> SecretsOf(string tenant) =>
        _certified is null ? _server.Tenants.SecretsOf(tenant) : _certified == tenant ? [[]] : [];
}
