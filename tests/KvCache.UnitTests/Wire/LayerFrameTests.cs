using CsCheck;
using KvCache.Engine.Wire;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LayerFrameTests
{
    private static readonly Gen<KvLayout> Layouts = Gen.Int[1, 3 << 20].Array[1, 12].Select(sizes =>
    {
        var offsets = new int[sizes.Length + 1];
        for (var i = 0; i < sizes.Length; i++)
            offsets[i + 1] = offsets[i] + sizes[i];
        return KvLayout.Opaque(offsets, 16);
    });

    [Fact]
    public void Frames_carry_every_layer_of_every_block_once_in_order_and_within_bounds() =>
        Gen.Select(Layouts, Gen.OneOf(Gen.Int[1, 20], Gen.Int[200, 1000])).Sample((layout, blocks) =>
        {
            var next = (Layer: 0, Block: 0);
            for (var rest = layout.AllLayers; rest.Count > 0;)
            {
                var frame = LayerFrame.Next(layout, rest, next.Block, blocks, alone: rest.First == 0);
                Assert.Equal(next, (frame.Layer, frame.Block));
                Assert.InRange(frame.Pieces, 1, LayerFrame.MaxPieces);
                Assert.True(frame.Layers == 1 || (frame.Blocks == blocks && frame.Layer > 0 && frame.PayloadBytes(layout) <= 128 << 10));
                Assert.InRange(frame.EndBlock, frame.Block + 1, blocks);
                Assert.InRange(frame.Layers, 1, rest.Count);
                var done = frame.EndBlock == blocks ? frame.Layers : 0;
                rest = new LayerRange(rest.First + done, rest.Count - done);
                next = (rest.First, frame.EndBlock % blocks);
            }
        }, iter: 200);

    [Fact]
    public void Small_layers_share_a_frame_and_large_ones_do_not()
    {
        var layout = KvLayout.Create(8, 1, 8, KvDataType.Float16, 16); // 512 bytes a layer
        Assert.Equal(new LayerFrame(0, 1, 0, 4), LayerFrame.Next(layout, layout.AllLayers, 0, 4, alone: true));
        Assert.Equal(new LayerFrame(1, 7, 0, 4), LayerFrame.Next(layout, new LayerRange(1, 7), 0, 4, alone: false));
        var large = KvLayout.Create(8, 8, 128, KvDataType.Float16, 256);
        Assert.Equal(new LayerFrame(1, 1, 0, 8), LayerFrame.Next(large, new LayerRange(1, 7), 0, 8, alone: false));
    }

    [Fact]
    public async Task Pieces_leave_in_their_order_whatever_the_socket_takes_at_once()
    {
        var layout = KvLayout.Opaque([0, 3_000_001, 6_000_000], 16);
        using var arena = KvCache.Engine.Storage.Arena.CreatePrivate(8 << 20);
        arena.Commit();
        Assert.True(arena.TryAllocate(layout.BlockBytes, out var offset));
        new Random(1).NextBytes(arena.Span(offset, layout.BlockBytes));
        using var pair = new SocketPair();
        using FrameSocket sender = new(pair.Here), receiver = new(pair.There);
        var sending = Task.Run(
            () =>
            {
                UnmanagedPiece[] pieces = [Piece(1), Piece(0), Piece(1)];
                sender.SendPieces([1, 2, 3], pieces, [4, 5]);
            },
            TestContext.Current.CancellationToken);

        byte[] expected = [1, 2, 3, .. Bytes(1), .. Bytes(0), .. Bytes(1), 4, 5];
        var received = new byte[expected.Length];
        receiver.ReceiveExact(received);
        await sending;
        Assert.True(received.AsSpan().SequenceEqual(expected));
        Assert.Equal(expected.Length, sender.SentBytes);

        UnmanagedPiece Piece(int layer) =>
            UnmanagedPiece.Of(arena.Span(offset, layout.BlockBytes).Slice(layout.LayerOffset(layer), layout.LayerBytes(layer)));
        byte[] Bytes(int layer) =>
            arena.Span(offset, layout.BlockBytes).Slice(layout.LayerOffset(layer), layout.LayerBytes(layer)).ToArray();
    }
}
