using System.Buffers.Binary;
using System.IO.Hashing;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using CsCheck;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.UnitTests.Support;
using KvCache.UnitTests.Wire;
using Xunit;

namespace KvCache.UnitTests;

public sealed class FrameSocketTests
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 1000, 300_000, 300_001, 700_000], tokensPerBlock: 16);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void Frames_arrive_in_order_and_whole() =>
        SentFrame.Any.Array[1, 5].Sample(frames =>
        {
            using var pair = new SocketPair();
            using FrameSocket sender = new(pair.Here), receiver = new(pair.There);
            foreach (var sent in frames)
                sender.SendHeader(sent.Writer(), sent.Type, sent.Status, sent.RequestId, sent.PayloadLength);
            pair.Here.Shutdown(SocketShutdown.Send);
            foreach (var sent in frames)
            {
                Assert.True(receiver.TryReceive(out var header, out var meta));
                Assert.Equal(
                    (sent.Type, sent.Status, sent.RequestId, sent.PayloadLength),
                    (header.Type, header.Status, header.RequestId, header.PayloadLength));
                Assert.Equal(sent.Meta, meta);
            }

            Assert.False(receiver.TryReceive(out _, out _));
            Assert.Equal(sender.SentBytes, receiver.ReceivedBytes);
        }, iter: 50, threads: 1);

    [Fact]
    public void A_damaged_frame_is_never_received() =>
        Gen.Select(SentFrame.Any, Gen.Int[0, 1000], Gen.Byte[1, 255]).Sample((sent, at, change) =>
        {
            var bytes = sent.Encode();
            bytes[at % bytes.Length] ^= change;
            Refused(bytes);
        }, iter: 300, threads: 1);

    [Fact]
    public void A_frame_that_is_cut_off_is_an_error_and_no_wait() =>
        Gen.Select(SentFrame.Any, Gen.Int[1, 1000]).Sample((sent, at) =>
        {
            var bytes = sent.Encode();
            Assert.IsType<SocketException>(Refused(bytes[..(1 + (at % (bytes.Length - 1)))]));
        }, iter: 300, threads: 1);

    [Fact]
    public async Task A_frame_in_single_bytes_is_a_frame()
    {
        var sent = new SentFrame(FrameType.Match, WireStatus.Ok, 3, [1, 2, 3], 0);
        using var pair = new SocketPair();
        using var receiver = new FrameSocket(pair.There);
        pair.Here.NoDelay = true;
        var sending = Task.Run(() => Array.ForEach(sent.Encode(), value => pair.Here.Send([value])), Token);
        Assert.True(receiver.TryReceive(out _, out var meta));
        Assert.Equal(sent.Meta, meta.ToArray());
        await sending.WaitAsync(TimeSpan.FromSeconds(10), Token);
    }

    [Fact]
    public void Hostile_lengths_are_refused_before_anything_is_allocated() =>
        Gen.Select(Gen.UInt[1025, uint.MaxValue], Gen.ULong[1025, ulong.MaxValue], Gen.Bool).Sample((meta, payload, longMeta) =>
        {
            var bytes = new SentFrame(FrameType.Put, WireStatus.Ok, 1, [], 0).Encode();
            if (longMeta)
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(16), meta);
            else
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(24), payload);
            using var pair = new SocketPair();
            using var receiver = new FrameSocket(pair.There, maxMeta: 1024, maxPayload: 1024);
            pair.Here.Send(bytes);
            var before = GC.GetAllocatedBytesForCurrentThread();
            Assert.Throws<KvFormatException>(() => receiver.TryReceive(out _, out _));
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 32 * 1024);
        }, iter: 50, threads: 1);

    [Fact]
    public void Blocks_and_their_checksums_arrive_as_they_were_sent() =>
        Gen.Select(Gen.Int[0, 200], Gen.Int[1, 3_000_000].Array[1, 40]).Sample((count, cuts) =>
        {
            // Many small blocks share a call of the kernel, a large one needs several: what arrives is the same.
            var offsets = cuts.Aggregate(new List<int> { 0 }, (all, bytes) => [.. all, all[^1] + (count > 3 ? bytes / 300 : bytes) + 1]);
            var layout = KvLayout.Opaque([.. offsets], tokensPerBlock: 16);
            var blocks = new ReadOnlyMemory<byte>[Math.Min(count, 40_000_000 / layout.BlockBytes)];
            for (var i = 0; i < blocks.Length; i++)
            {
                var block = new byte[layout.BlockBytes];
                new Random(i).NextBytes(block);
                blocks[i] = block;
            }

            using var pair = new SocketPair();
            using FrameSocket sender = new(pair.Here), receiver = new(pair.There);
            var sending = Task.Run(() =>
            {
                var frame = new WireWriter();
                frame.Take(FrameHeader.Size);
                frame.UInt32(7);
                sender.SendPut(frame, requestId: 9, [default, .. blocks], first: 1, blocks.Length, layout);
            });
            Assert.True(receiver.TryReceive(out var header, out var meta));
            Assert.Equal(
                (FrameType.Put, 9UL, blocks.Length * (layout.BlockBytes + (4L * layout.Layers))),
                (header.Type, header.RequestId, header.PayloadLength));
            Assert.Equal([7, 0, 0, 0], meta.ToArray());
            var received = new byte[layout.BlockBytes];
            var computed = new uint[layout.Layers];
            var announced = new byte[4 * layout.Layers];
            foreach (var block in blocks)
            {
                receiver.ReceiveLayers(received, layout, layout.AllLayers, computed);
                receiver.ReceiveExact(announced);
                Assert.True(block.Span.SequenceEqual(received));
                Assert.True(announced.AsSpan().SequenceEqual(MemoryMarshal.AsBytes<uint>(computed)));
            }

            Assert.True(sending.Wait(TimeSpan.FromSeconds(30)));
            Assert.Equal(sender.SentBytes, receiver.ReceivedBytes);
        }, iter: 20, threads: 1);

    [Fact]
    public void Blocks_on_the_heap_stay_in_place_until_the_peer_has_read_them()
    {
        // Large blocks are not copied when they are sent: the kernel reads them when the receiver does.
        var layout = KvLayout.Opaque(100_000, tokensPerBlock: 16);
        var garbage = Enumerable.Range(0, 1000).Select(_ => new byte[90_000]).ToList();
        var blocks = Enumerable.Range(0, 3).Select(i => (ReadOnlyMemory<byte>)Enumerable.Repeat((byte)(i + 1), layout.BlockBytes).ToArray())
            .ToArray();
        using var pair = new SocketPair();
        pair.Here.SendBufferSize = 1 << 20;
        using FrameSocket sender = new(pair.Here), receiver = new(pair.There);
        var frame = new WireWriter();
        frame.Take(FrameHeader.Size);
        sender.SendPut(frame, requestId: 1, blocks, first: 0, blocks.Length, layout);
        garbage.Clear();
        System.Runtime.GCSettings.LargeObjectHeapCompactionMode = System.Runtime.GCLargeObjectHeapCompactionMode.CompactOnce;
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
        garbage.AddRange(Enumerable.Range(0, 2000).Select(_ => Enumerable.Repeat((byte)99, 90_000).ToArray()));

        Assert.True(receiver.TryReceive(out _, out _));
        var received = new byte[layout.BlockBytes];
        var computed = new uint[1];
        var announced = new byte[sizeof(uint)];
        foreach (var block in blocks)
        {
            receiver.ReceiveLayers(received, layout, layout.AllLayers, computed);
            receiver.ReceiveExact(announced);
            Assert.True(block.Span.SequenceEqual(received));
            Assert.Equal(computed[0], BinaryPrimitives.ReadUInt32LittleEndian(announced));
        }

        sender.EndPut();
    }

    [Fact]
    public void Checksums_do_not_depend_on_how_the_bytes_were_cut() =>
        Gen.Select(Gen.Int[0, 3], Gen.Int[1, 4], Gen.Int[1, 400_000].Array[1, 20]).Sample((first, count, pieces) =>
        {
            var range = new LayerRange(first, Math.Min(count, Layout.Layers - first));
            var block = RandomBlock();
            var rest = block.AsSpan(Layout.LayerOffset(range.First), Layout.RangeBytes(range));
            var checksums = new uint[Layout.Layers];
            var cursor = new ChecksumCursor(Layout, range, checksums);
            for (var i = 0; rest.Length > 0; i++)
            {
                var piece = rest[..Math.Min(rest.Length, pieces[i % pieces.Length])];
                cursor.Advance(piece);
                rest = rest[piece.Length..];
            }

            Assert.Equal(ChecksumsOf(block, range), checksums[..range.Count]);
        }, iter: 30);

    [Fact]
    public void Drained_bytes_are_gone()
    {
        using var pair = new SocketPair();
        using FrameSocket sender = new(pair.Here), receiver = new(pair.There);
        sender.SendAll(new byte[40_000]);
        sender.SendAll([42]);
        receiver.Drain(40_000);
        var next = new byte[1];
        receiver.ReceiveExact(next);
        Assert.Equal(42, next[0]);
    }

    [Fact]
    public async Task An_abort_wakes_the_thread_that_waits_for_the_peer()
    {
        using var pair = new SocketPair();
        using var socket = new FrameSocket(pair.Here);
        var receiving = Task.Run(() => socket.TryReceive(out _, out _), Token);
        socket.Abort();
        Assert.False(await receiving.WaitAsync(TimeSpan.FromSeconds(5), Token));
        socket.Dispose();
        socket.Abort();
    }

    private static Exception Refused(byte[] bytes)
    {
        using var pair = new SocketPair();
        using var receiver = new FrameSocket(pair.There);
        pair.Here.Send(bytes);
        pair.Here.Shutdown(SocketShutdown.Send);
        var error = Record.Exception(() => receiver.TryReceive(out _, out _));
        Assert.NotNull(error);
        Assert.True(error is KvFormatException or SocketException { SocketErrorCode: SocketError.ConnectionReset }, $"Got {error}.");
        return error;
    }

    private static byte[] RandomBlock()
    {
        var block = new byte[Layout.BlockBytes];
        new Random(1).NextBytes(block);
        return block;
    }

    private static uint[] ChecksumsOf(byte[] block, LayerRange range) =>
        [.. Enumerable.Range(range.First, range.Count)
            .Select(layer => Crc32.HashToUInt32(block.AsSpan(Layout.LayerOffset(layer), Layout.LayerBytes(layer))))];
}
