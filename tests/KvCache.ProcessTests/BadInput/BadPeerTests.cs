using KvCache.Binary;
using KvCache.Caching;
using KvCache.Checksums;
using KvCache.Engine.Wire;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>Whatever one peer sends, another one's connection goes on and the silo stays well.</summary>
public sealed class BadPeerTests(GuardedSilo silo) : GuardedSiloTests(silo, BadPeerTests.Ns, blocks: 3)
{
    private static readonly CacheNamespace Ns =
        Prefixes.Namespace("m", KvLayout.Create(2, 2, 16, KvDataType.Float32, 16), GuardedSilo.Tenant);
    private static readonly int PutBytes = Ns.Layout.BlockBytes + (Ns.Layout.Layers * sizeof(uint));

    [Theory]
    [InlineData(1, 1, "speaks version 1 of the data plane protocol; this silo speaks version 2. Update the other side.")]
    [InlineData(3, 9, "speaks versions 3 to 9 of the data plane protocol; this silo speaks version 2. Update this silo.")]
    [InlineData(9, 1, "speaks versions 9 to 1")]
    public void A_version_that_nobody_speaks_is_told(ushort min, ushort max, string sentence)
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Hello(GuardedSilo.Tenant, min, max);
        peer.ExpectError(WireStatus.VersionMismatch, sentence);
        peer.ExpectClosed();
    }

    [Fact]
    public void A_peer_of_a_later_version_is_served_and_what_it_says_more_is_passed_over()
    {
        using var peer = new RawPeer(Process.Tcp) { Fields = [2, 77, 0x7FFF] };
        peer.Prove(GuardedSilo.Tenant, GuardedSilo.Secret, max: 9);
        peer.ExpectReply(FrameType.AuthenticateReply, out _);
        var handle = peer.Open(Ns);
        var prefix = Prefixes.New(Ns, 1);
        peer.Send(FrameType.Put, RawPeer.PutMeta(handle, prefix), PutBytes);
        peer.Send(NewBlock());
        peer.ExpectReply(FrameType.PutReply, out var put);
        Assert.Equal((byte)PutOutcome.Stored, put[4]);
        peer.Send(FrameType.Match, writer =>
        {
            writer.UInt32(0);
            writer.UInt32(1);
            writer.UInt32(handle);
            writer.UInt32(1);
            writer.Hashes(prefix.Chain.Hashes);
        });
        peer.ExpectReply(FrameType.MatchReply, out var match);
        Assert.Equal(1u, BitConverter.ToUInt32(match));
    }

    [Fact]
    public void What_must_be_understood_and_is_not_is_refused_and_the_connection_goes_on()
    {
        using var peer = new RawPeer(Process.Tcp) { Fields = [] };
        peer.Prove(GuardedSilo.Tenant, GuardedSilo.Secret);
        peer.ExpectReply(FrameType.AuthenticateReply, out _);
        var handle = peer.Open(Ns);
        var prefix = Prefixes.New(Ns, 1);
        var put = new WireWriter();
        put.Take(FrameHeader.Size);
        WireFields.Add(put, WireFields.MustBeKnown, 7);
        WireFields.End(put);
        RawPeer.PutMeta(handle, prefix)(put);
        FrameHeader.Write(put.Writable, FrameType.Put, WireStatus.Ok, 99, PutBytes, put.FieldBytes);
        peer.Send([.. put.Written, .. NewBlock()]);
        peer.ExpectError(WireStatus.InvalidRequest, "0x8000, which must be understood");
        peer.Send(FrameType.Stat, _ => { });
        peer.ExpectReply(FrameType.StatReply, out _);
    }

    private static byte[] NewBlock()
    {
        var block = new byte[PutBytes];
        Random.Shared.NextBytes(block.AsSpan(0, Ns.Layout.BlockBytes));
        for (var layer = 0; layer < Ns.Layout.Layers; layer++)
            BitConverter.TryWriteBytes(
                block.AsSpan(Ns.Layout.BlockBytes + (layer * sizeof(uint))),
                BlockChecksum.Compute(block.AsSpan(Ns.Layout.LayerOffset(layer), Ns.Layout.LayerBytes(layer))));
        return block;
    }

    [Theory]
    [InlineData(GuardedSilo.Tenant, "a secret of sixteen bytez")]
    [InlineData(GuardedSilo.Tenant, GuardedSilo.OtherSecret)]
    [InlineData("nobody", GuardedSilo.Secret)]
    [InlineData("default", "")]
    [InlineData("", "")]
    public void A_wrong_secret_and_an_unknown_tenant_look_the_same(string tenant, string secret)
    {
        using var peer = new RawPeer(Process.Tcp);
        var nonce = peer.Hello(tenant);
        peer.ExpectReply(FrameType.HelloReply, out var meta);
        peer.Send(FrameType.Authenticate,
            writer => writer.Bytes(WireProtocol.ClientProof(System.Text.Encoding.UTF8.GetBytes(secret), nonce, meta.AsSpan(2), tenant)));
        peer.ExpectError(WireStatus.AuthenticationFailed, "The tenant is unknown or its secret is another one.");
        peer.ExpectClosed();
    }

    [Fact]
    public void A_proof_of_another_connection_is_worth_nothing()
    {
        using var first = new RawPeer(Process.Tcp);
        var nonce = first.Hello(GuardedSilo.Tenant);
        first.ExpectReply(FrameType.HelloReply, out var meta);
        var proof = WireProtocol.ClientProof(
            System.Text.Encoding.UTF8.GetBytes(GuardedSilo.Secret), nonce, meta.AsSpan(2), GuardedSilo.Tenant);

        using var second = new RawPeer(Process.Tcp);
        second.Hello(GuardedSilo.Tenant);
        second.ExpectReply(FrameType.HelloReply, out _);
        second.Send(FrameType.Authenticate, writer => writer.Bytes(proof));
        second.ExpectError(WireStatus.AuthenticationFailed, "its secret is another one");
    }

    [Theory]
    [InlineData(nameof(FrameType.Stat))]
    [InlineData(nameof(FrameType.Authenticate))]
    [InlineData(nameof(FrameType.Put))]
    public void Nothing_is_answered_before_hello(string type)
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Send(Enum.Parse<FrameType>(type), writer => writer.Bytes(new byte[32]));
        peer.ExpectError(WireStatus.BadFrame, "hello (1) was expected");
        peer.ExpectClosed();
    }

    [Fact]
    public void Hello_has_no_payload()
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Send(FrameType.Hello, writer => writer.Bytes(new byte[38]), payload: 1 << 20);
        peer.ExpectError(WireStatus.BadFrame, "announces 1048576 bytes of payload; at most 0");
    }

    [Fact]
    public void Before_the_proof_a_large_meta_part_is_not_even_read()
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Send(peer.Frame(FrameType.Hello, writer => writer.Take(100_000)).AsSpan(0, FrameHeader.Size));
        peer.ExpectError(WireStatus.BadFrame, "announces 100000 bytes of meta; at most 1024");
    }

    [Fact]
    public void A_namespace_of_another_tenant_cannot_be_opened()
    {
        using var peer = Authenticated();
        peer.Send(FrameType.OpenNamespace, writer => writer.Bytes((Ns with { Tenant = GuardedSilo.OtherTenant }).Encoded));
        peer.ExpectError(WireStatus.NamespaceForbidden, "another tenant");
        peer.Open(Ns); // the connection goes on
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(uint.MaxValue)]
    public void A_handle_of_another_connection_opens_nothing(uint handle)
    {
        using var owner = Authenticated();
        Assert.Equal(0u, owner.Open(Ns));
        using var peer = RawPeer.Authenticated(Process.Tcp, GuardedSilo.OtherTenant, GuardedSilo.OtherSecret);

        peer.Send(FrameType.Get, writer =>
        {
            writer.UInt32(handle);
            writer.UInt8(0);
            writer.UInt32(0);
            writer.UInt32(1);
            writer.UInt32(1);
            writer.Hashes(Stored.Chain.Hashes[..1]);
        });
        peer.ExpectError(WireStatus.NamespaceUnknown, "was not opened on this connection");
        peer.Send(FrameType.Put, RawPeer.PutMeta(handle, Stored), payload: 100_000);
        peer.Send(new byte[100_000]);
        peer.ExpectError(WireStatus.NamespaceUnknown, "was not opened on this connection");
        peer.Send(FrameType.Stat, _ => { });
        peer.ExpectReply(FrameType.StatReply, out _); // in step behind the payload that was not wanted
    }

    [Fact]
    public void A_connection_opens_so_many_namespaces_and_no_more()
    {
        using var peer = Authenticated();
        for (var i = 0; i < 8; i++)
            Assert.Equal((uint)i, peer.Open(Ns with { Salt = $"{i}" }));
        Assert.Equal(3u, peer.Open(Ns with { Salt = "3" }));
        peer.Send(FrameType.OpenNamespace, writer => writer.Bytes((Ns with { Salt = "8" }).Encoded));
        peer.ExpectError(WireStatus.LimitExceeded, "at most 8 namespaces");
    }

    [Fact]
    public void A_meta_part_over_the_limit_ends_the_connection()
    {
        using var peer = Authenticated();
        peer.Send(peer.Frame(FrameType.Stat, writer => writer.Take(WireProtocol.MaxMetaBytes + 1)).AsSpan(0, FrameHeader.Size));
        peer.ExpectError(WireStatus.BadFrame, "announces 1048577 bytes of meta; at most 1048576");
        peer.ExpectClosed();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1L << 40)]
    [InlineData(long.MaxValue)]
    [InlineData(-1)]
    public void A_payload_that_does_not_fit_the_layout_ends_the_connection(long payload)
    {
        using var peer = Authenticated();
        peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(Ns), Prefixes.New(Ns, 1)), payload);
        peer.ExpectError(WireStatus.BadFrame, "bytes of payload");
        peer.ExpectClosed();
    }

    [Fact]
    public void A_request_without_payload_must_not_announce_one()
    {
        using var peer = Authenticated();
        peer.Send(FrameType.Stat, _ => { }, payload: 8);
        peer.ExpectError(WireStatus.BadFrame, "has no payload, 8 bytes were announced");
    }

    [Theory]
    [InlineData(0, 0, 1u)]
    [InlineData(0x80, 0, 1u)]
    [InlineData(0, 2, 1u)]
    [InlineData(0, 1, 2u)]
    [InlineData(0, -1, 1u)]
    [InlineData(0, 0, uint.MaxValue)]
    public void Layers_and_flags_out_of_bounds_are_told_and_the_connection_goes_on(byte flags, int firstLayer, uint layers)
    {
        using var peer = Authenticated();
        var handle = peer.Open(Ns);
        peer.Send(FrameType.Get, writer =>
        {
            writer.UInt32(handle);
            writer.UInt8(flags);
            writer.UInt32((uint)firstLayer);
            writer.UInt32(layers);
            writer.UInt32(1);
            writer.Hashes(Prefixes.New(Ns, 1).Chain.Hashes);
        });
        if (flags == 0 && firstLayer == 0 && layers == 1)
            peer.ExpectReply(FrameType.GetEnd, out _);
        else
            peer.ExpectError(WireStatus.InvalidRequest, flags == 0 ? "do not lie in a block of 2 layers" : "0x80");
        peer.Send(FrameType.Stat, _ => { });
        peer.ExpectReply(FrameType.StatReply, out _);
    }

    [Theory]
    [InlineData(16_385u, "at most 16384")]
    [InlineData(uint.MaxValue, "at most 16384")]
    [InlineData(2u, "ends too early")]
    [InlineData(0u, "bytes too many")]
    public void A_number_of_blocks_that_is_not_there_ends_the_connection(uint blocks, string sentence)
    {
        using var peer = Authenticated();
        var handle = peer.Open(Ns);
        peer.Send(FrameType.Match, writer =>
        {
            writer.UInt32(0);
            writer.UInt32(1);
            writer.UInt32(handle);
            writer.UInt32(blocks);
            writer.Hashes(Stored.Chain.Hashes[..1]);
        });
        peer.ExpectError(WireStatus.BadFrame, sentence);
        peer.ExpectClosed();
    }

    [Fact]
    public void A_damaged_frame_is_not_taken_for_another_one()
    {
        using var peer = Authenticated();
        var frame = peer.Frame(FrameType.Delete, RawPeer.PutMeta(peer.Open(Ns), Stored));
        frame[FrameHeader.Size + 5] ^= 1;
        peer.Send(frame);
        peer.ExpectError(WireStatus.BadFrame, "CRC-32");
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")]
    [InlineData("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")]
    public void Bytes_of_another_protocol_are_told_so(string bytes)
    {
        using var peer = new RawPeer(Process.Tcp);
        peer.Send(System.Text.Encoding.ASCII.GetBytes(bytes));
        peer.ExpectError(WireStatus.BadFrame, "Is this a KvCache data plane client?");
        peer.ExpectClosed();
    }

    [Fact]
    public void Noise_ends_the_connection_and_nothing_else()
    {
        var random = new Random(7);
        for (var round = 0; round < 200; round++)
        {
            using var peer = round % 2 == 0 ? new RawPeer(Process.Tcp) : Authenticated();
            var noise = new byte[random.Next(32, 300)];
            random.NextBytes(noise);
            if (round % 4 >= 2)
                BitConverter.TryWriteBytes(noise, FrameHeader.Magic);
            peer.Send(noise);
            peer.ExpectClosed();
        }
    }

    [Fact]
    public void Well_formed_frames_with_noise_in_them_end_the_connection_and_nothing_else()
    {
        var random = new Random(8);
        for (var round = 0; round < 400; round++)
        {
            using var peer = Authenticated();
            peer.Open(Ns);
            var noise = new byte[random.Next(0, 120)];
            random.NextBytes(noise);
            if (noise.Length > 4)
                BitConverter.TryWriteBytes(noise, 0); // a handle that exists gets further
            peer.Send((FrameType)random.Next(0, 256), writer => writer.Bytes(noise));
            peer.Send(FrameType.Authenticate, _ => { }); // ends a connection that understood the noise
            peer.ExpectClosedBehindReplies();
        }
    }

    [Fact]
    public async Task Checksums_that_do_not_fit_their_bytes_are_told_and_the_block_is_notStored()
    {
        using var peer = Authenticated();
        var prefix = Prefixes.New(Ns, 3);
        var payload = new byte[3 * PutBytes];
        for (var block = 0; block < 3; block++)
        {
            var bytes = payload.AsSpan(block * PutBytes, PutBytes);
            Content.Fill(bytes[..Ns.Layout.BlockBytes], prefix.Key(block));
            for (var layer = 0; layer < Ns.Layout.Layers; layer++)
                BitConverter.TryWriteBytes(
                    bytes[(Ns.Layout.BlockBytes + (layer * sizeof(uint)))..],
                    System.IO.Hashing.Crc32.HashToUInt32(bytes.Slice(Ns.Layout.LayerOffset(layer), Ns.Layout.LayerBytes(layer))));
        }

        payload[PutBytes + Ns.Layout.BlockBytes] ^= 1;
        peer.Send(FrameType.Put, RawPeer.PutMeta(peer.Open(Ns), prefix), payload.Length);
        peer.Send(payload);

        peer.ExpectReply(FrameType.PutReply, out var outcomes);
        Assert.Equal([3, 0, 0, 0, (byte)PutOutcome.Stored, (byte)PutOutcome.Corrupt, (byte)PutOutcome.Stored, 0], outcomes);
        Assert.Equal(1, (await Bystander.MatchAsync(prefix)).Blocks);
        await Bystander.MustStoreTheRestAsync(prefix, firstBlock: 1);
        await Bystander.MustLoadAsync(prefix);
    }

    private RawPeer Authenticated() => RawPeer.Authenticated(Process.Tcp, GuardedSilo.Tenant, GuardedSilo.Secret);
}
