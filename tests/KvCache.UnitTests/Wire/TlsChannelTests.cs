using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Testing;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TlsChannelTests : IDisposable
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 1000, 300_000, 300_001, 700_000], tokensPerBlock: 16);

    private readonly TestAuthority _authority = new();
    private readonly SocketPair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _pair.Dispose();
        _authority.Dispose();
    }

    [Theory]
    [InlineData(SslProtocols.Tls12)]
    [InlineData(SslProtocols.Tls13)]
    public async Task Frames_and_blocks_arrive_whole_through_tls(SslProtocols version)
    {
        var (here, there) = await ConnectAsync(Server(protocols: version), Client());
        using FrameSocket sender = new(here), receiver = new(there);
        var blocks = Enumerable.Range(0, 3).Select(i => (ReadOnlyMemory<byte>)RandomNumberGenerator.GetBytes(Layout.BlockBytes)).ToArray();
        var sending = Task.Run(() =>
        {
            var frame = new WireWriter();
            frame.Take(FrameHeader.Size);
            frame.Bytes([1, 2, 3]);
            frame.Align();
            sender.SendPut(frame, 7, blocks, 0, blocks.Length, Layout);
            frame.Reset();
            frame.Take(FrameHeader.Size);
            sender.Send(frame, FrameType.Stat, WireStatus.Ok, 8, blocks[0].Span, [9, 9]);
        }, Token);
        var received = new byte[Layout.BlockBytes];
        var checksums = new uint[Layout.Layers];
        Assert.True(receiver.TryReceive(out var header, out _));
        Assert.Equal((FrameType.Put, 7ul), (header.Type, header.RequestId));
        foreach (var block in blocks)
        {
            receiver.ReceiveLayers(received, Layout, Layout.AllLayers, checksums);
            Assert.True(block.Span.SequenceEqual(received));
            receiver.Drain(Layout.Layers * sizeof(uint));
        }

        Assert.True(receiver.TryReceive(out header, out _));
        Assert.Equal(FrameType.Stat, header.Type);
        receiver.ReceiveExact(received);
        Assert.True(blocks[0].Span.SequenceEqual(received));
        receiver.ReceiveExact(received.AsSpan(0, 2));
        Assert.Equal([9, 9], received[..2]);
        await sending;
        Assert.Equal(sender.SentBytes, receiver.ReceivedBytes);
    }

    [Fact]
    public async Task Large_blocks_cost_no_memory_that_is_managed()
    {
        var (here, there) = await ConnectAsync(Server(), Client());
        using (here)
        using (there)
        {
            var bytes = new byte[4 << 20];
            var sending = Task.Run(() =>
            {
                Send(8);
                var start = GC.GetAllocatedBytesForCurrentThread();
                Send(32);
                return GC.GetAllocatedBytesForCurrentThread() - start;
            }, Token);
            Receive(8);
            var before = GC.GetAllocatedBytesForCurrentThread();
            Receive(32);
            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            allocated += await sending;

            // One buffer for every record would be 128 MiB; what the runtime allocates is 70 bytes a record and end.
            Assert.True(allocated < 2 << 20, $"128 MiB cost {allocated:N0} bytes");

            void Send(int blocks)
            {
                for (var i = 0; i < blocks; i++)
                    here.SendAll(bytes, default, default);
            }

            void Receive(int blocks)
            {
                var buffer = new byte[256 * 1024];
                for (var left = (long)blocks * bytes.Length; left > 0;)
                    left -= there.Receive(buffer.AsSpan(0, (int)Math.Min(left, buffer.Length)));
            }
        }
    }

    [Fact]
    public async Task An_abort_ends_who_waits_for_the_peer()
    {
        var (here, there) = await ConnectAsync(Server(), Client());
        using (here)
        using (there)
        {
            var waiting = Task.Run(() => here.Receive(new byte[10]), Token);
            here.Abort();
            var ended = await Record.ExceptionAsync(() => waiting);
            Assert.True(ended is SocketException || await waiting == 0);
        }
    }

    [Fact]
    public async Task A_server_of_another_authority_is_refused_with_a_sentence()
    {
        using var other = new TestAuthority("Other Authority");
        var error = await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(Server(), Client(other)));
        Assert.Contains("does not come from an authority that is trusted here", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_with_another_name_is_refused_with_a_sentence()
    {
        var client = new TlsClient(Certificates.LoadAuthorities("Ca", _authority.CaFile), "cache.example");
        var error = await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(Server(), client));
        Assert.Contains("for another name than cache.example", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_is_the_tenant_that_its_certificate_stands_for()
    {
        var (certificate, key) = _authority.Issue("engine.acme");
        var server = Server(needsClient: true);
        var (here, there) = await ConnectAsync(server, Client(certificate: certificate, key: key));
        using (here)
        using (there)
            Assert.Equal("acme", server.TenantOf(there.RemoteCertificate));
    }

    [Fact]
    public async Task A_client_without_a_certificate_is_refused_where_one_is_asked_for()
    {
        var error = await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(Server(needsClient: true), Client()));
        Assert.Contains("shown no certificate", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_clients_certificate_of_another_authority_is_refused()
    {
        using var other = new TestAuthority("Other Authority");
        var (certificate, key) = other.Issue("engine.acme");
        var error = await Assert.ThrowsAsync<AuthenticationException>(
            () => ConnectAsync(Server(needsClient: true), Client(certificate: certificate, key: key)));
        Assert.Contains("does not come from an authority", error.Message, StringComparison.Ordinal);
    }

    private static async Task<(TlsChannel Here, TlsChannel There)> ConnectAsync(SocketPair pair, TlsServer server, TlsClient client)
    {
        var here = new TlsChannel(pair.Here, stream => client.Authenticate(stream, "127.0.0.1"));
        var there = new TlsChannel(pair.There, server.Authenticate);
        var serving = Task.Run(there.Handshake, Token);
        var connecting = Task.Run(here.Handshake, Token);
        try
        {
            await connecting;
        }
        catch
        {
            here.Dispose();
            await Record.ExceptionAsync(() => serving);
            throw;
        }

        await serving;
        return (here, there);
    }

    private Task<(TlsChannel Here, TlsChannel There)> ConnectAsync(TlsServer server, TlsClient client) =>
        ConnectAsync(_pair, server, client);

    private TlsServer Server(bool needsClient = false, SslProtocols protocols = SslProtocols.Tls12 | SslProtocols.Tls13)
    {
        var (certificate, key) = _authority.Issue("silo");
        return new TlsServer(
            Certificates.Load("Certificate", certificate, key, ""),
            needsClient ? Certificates.LoadAuthorities("ClientCa", _authority.CaFile) : null,
            requiresCertificate: true,
            new Dictionary<string, string> { ["engine.acme"] = "acme" },
            protocols);
    }

    private TlsClient Client(TestAuthority? trusted = null, string certificate = "", string key = "") => new(
        Certificates.LoadAuthorities("Ca", (trusted ?? _authority).CaFile),
        certificate: certificate.Length > 0 ? Certificates.Load("Certificate", certificate, key, "") : null);
}
