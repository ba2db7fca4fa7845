using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Data;

/// <summary>What a put says before its bytes.</summary>
/// <param name="Namespace">Namespace of the blocks.</param>
/// <param name="Hashes">The blocks.</param>
/// <param name="Lineage">Place of the first one.</param>
/// <param name="Terms">What is to become of them.</param>
/// <param name="ByLayers">Whether the bytes come layer by layer, not block by block.</param>
/// <param name="Hint">What is known of when the blocks are used again.</param>
internal readonly record struct PutRequest(
    CacheNamespace Namespace, BlockHash[] Hashes, BlockLineage Lineage, BlockTerms Terms, bool ByLayers, CacheHint? Hint = null);

/// <content>Storing blocks.</content>
internal sealed partial class Session
{
    private void Put(FrameHeader header, ReadOnlySpan<byte> meta)
    {
        var reader = new WireReader(meta);
        PutRequest put;
        try
        {
            put = ReadPut(ref reader);
        }
        catch (ProtocolException)
        {
            _socket.Drain(header.PayloadLength); // the connection stays in step
            throw;
        }

        var layout = put.Namespace.Layout;
        var expected = WireProtocol.PutPayloadBytes(layout, put.Hashes.Length);
        if (header.PayloadLength != expected)
            throw new KvFormatException(
                $"{put.Hashes.Length} blocks of {layout.BlockBytes} bytes and {layout.Layers} checksums are {expected} bytes of payload; "
                + $"{header.PayloadLength} were announced.");
        var outcomes = put.ByLayers
            ? _puts.ReceiveByLayers(in put, (long)(_server.Options.MaxHeldShare * _server.Store.Arena.Capacity))
            : _puts.Receive(in put);
        SendOutcomes(FrameType.PutReply, header.RequestId, put, outcomes);
    }

    private PutRequest ReadPut(ref WireReader reader)
    {
        var ns = Namespace(ref reader);
        var timeToLive = reader.UInt64();
        var flags = reader.UInt8();
        var copies = reader.UInt8();
        var lineage = new BlockLineage(
            Parent: reader.Hashes(1)[0],
            Depth: (int)reader.UInt32(),
            RequestId: reader.UInt64(),
            SuffixTokens: (int)reader.UInt32());
        var hashes = reader.Hashes(reader.Count(WireProtocol.MaxBlocksPerRequest, "blocks")).ToArray();
        reader.EndAligned();
        var byLayers = (flags & WireProtocol.PutByLayers) != 0;
        if (byLayers && hashes.Length > WireProtocol.MaxBlocksByLayers)
            throw new ProtocolException(
                WireStatus.InvalidRequest,
                $"A put by layers has at most {WireProtocol.MaxBlocksByLayers} blocks; this one has {hashes.Length}.");
        if ((flags & ~(WireProtocol.PutPersisted | WireProtocol.PutByLayers | WireProtocol.PutKeepsLife)) != 0
            || copies > WireProtocol.MaxCopies)
            throw new ProtocolException(
                WireStatus.InvalidRequest,
                $"The put has flags 0x{flags:x2} and asks for {copies} copies; version {WireProtocol.Version} knows flags "
                + $"{WireProtocol.PutPersisted}, {WireProtocol.PutByLayers} and {WireProtocol.PutKeepsLife} and at most "
                    + $"{WireProtocol.MaxCopies} copies.");
        var terms = new BlockTerms(
            timeToLive == 0 ? null : WireProtocol.Duration(timeToLive),
            new BlockDurability(copies, (flags & WireProtocol.PutPersisted) != 0),
            KeepLife: (flags & WireProtocol.PutKeepsLife) != 0);
        return new PutRequest(ns, hashes, lineage, terms, byLayers, HintField.Read(_socket.Fields));
    }

    private void SendOutcomes(FrameType type, ulong requestId, in PutRequest put, PutOutcome[] outcomes)
    {
        if (put.Terms.TimeToLive is not null)
        {
            var (ns, hashes) = (put.Namespace.Id, put.Hashes);
            _server.Writer.RefreshLife(
                [.. Enumerable.Range(0, outcomes.Length).Where(i => outcomes[i] == PutOutcome.AlreadyStored)
                    .Select(i => new BlockKey(ns, hashes[i]))], put.Terms);
        }

        var reply = Reply();
        reply.UInt32((uint)outcomes.Length);
        foreach (var outcome in outcomes)
        {
            _server.Counters.Put(outcome);
            reply.UInt8((byte)outcome);
        }

        var alternatives = Array.Exists(outcomes, NoRoomOutcomes.IsNoRoom)
            ? _server.Cluster.RoomierEndpoints(put.Namespace.Layout.BlockBytes)
            : [];
        reply.UInt8((byte)alternatives.Count);
        foreach (var endpoint in alternatives)
            reply.Text(endpoint);
        _socket.Send(reply, type, WireStatus.Ok, requestId);
    }
}
