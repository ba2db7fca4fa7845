using System.Net.Sockets;
using System.Runtime.InteropServices;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;

namespace KvCache.Silo.Data;

/// <summary>
/// Receives the blocks of a put. Memory and grants of the next blocks are prepared while bytes arrive: the control plane hides
/// behind the data.
/// </summary>
/// <remarks>
/// Blocks are published in the order of their chain, so that a block finds its parent in the store. At most
/// <see cref="DataPlaneOptions.PutWindow"/> blocks are prepared ahead, and as many wait for their grant. What was only announced gets no
/// memory: the first block is prepared when its first byte has come, and no more ahead than have come before.
/// </remarks>
internal sealed partial class PutPipeline(BlockWriter writer, int window, FrameSocket socket, Action betweenBlocks) : IDisposable
{
    private readonly CancellationTokenSource _ended = new();
    private long _request; // of the put that is being received, for the store

    /// <summary>Receives the payload of one put frame.</summary>
    /// <exception cref="SocketException">The connection broke; nothing that was not complete becomes visible.</exception>
    public PutOutcome[] Receive(in PutRequest put)
    {
        var layout = put.Namespace.Layout;
        if (put.Hashes.Length > 0)
            socket.WaitForBytes();
        return Store(in put, (block, _) => ReceiveBlock(layout, block));
    }

    /// <summary>Copies blocks out of a segment in which they lie one behind another.</summary>
    public PutOutcome[] Copy(in PutRequest put, SealedSegment segment, long offset)
    {
        var layout = put.Namespace.Layout;
        return Store(in put, (block, index) => CopyBlock(layout, block, segment, offset + ((long)index * layout.BlockBytes)));
    }

    private PutOutcome[] Store(in PutRequest put, Func<PendingBlock, int, bool> fill)
    {
        var hashes = put.Hashes;
        var blocks = new PendingBlock[hashes.Length];
        var ends = new Task<PutOutcome>[hashes.Length];
        _request = writer.BeginRequest(put);
        int prepared = 0, received = 0;
        try
        {
            for (; received < blocks.Length; received++)
            {
                for (; prepared < blocks.Length && prepared <= received + Math.Min(window - 1, received); prepared++)
                    blocks[prepared] = Begin(in put, prepared);
                if (received > 0)
                    betweenBlocks();
                var intact = fill(blocks[received], received);
                ends[received] = writer.FinishAsync(blocks[received], intact, received == 0 ? Task.CompletedTask : ends[received - 1]);
                if (received >= window)
                    ends[received - window].GetAwaiter().GetResult();
            }
        }
        catch
        {
            GiveUp(blocks.AsSpan(received..prepared)); // the block that was being received, and those behind it
            throw;
        }

        return Array.ConvertAll(ends, end => end.GetAwaiter().GetResult());
    }

    public void Dispose()
    {
        _ended.Cancel();
        _ended.Dispose();
    }

    private PendingBlock Begin(in PutRequest put, int index)
    {
        var place = put.Lineage with
        {
            Parent = index == 0
            ? put.Lineage.Parent
            : put.Hashes[index - 1],
            Depth = put.Lineage.Depth + index
        };
        return writer.Begin(
            new BlockKey(put.Namespace.Id, put.Hashes[index]), put.Namespace.Layout, place, put.Terms, _ended.Token, _request);
    }

    private void GiveUp(ReadOnlySpan<PendingBlock> blocks)
    {
        foreach (var block in blocks)
            writer.FinishAsync(block, intact: false, Task.CompletedTask).GetAwaiter().GetResult();
    }

    private bool ReceiveBlock(KvLayout layout, PendingBlock block)
    {
        var trailer = layout.Layers * sizeof(uint);
        if (!block.Wanted)
        {
            socket.Drain(layout.BlockBytes + trailer);
            return false;
        }

        var write = block.Write!;
        socket.ReceiveLayers(write.Bytes, layout, layout.AllLayers, write.Checksums, block.Complete);
        return ReceiveTrailer(layout, write);
    }

    private bool ReceiveTrailer(KvLayout layout, BlockWrite write)
    {
        var trailer = layout.Layers * sizeof(uint);
        Span<uint> announced = stackalloc uint[Math.Min(layout.Layers, 256)];
        for (var layer = 0; layer < layout.Layers; layer += announced.Length)
        {
            var piece = announced[..Math.Min(announced.Length, layout.Layers - layer)];
            socket.ReceiveExact(MemoryMarshal.AsBytes(piece));
            if (!piece.SequenceEqual(write.Checksums.Slice(layer, piece.Length)))
            {
                socket.Drain(trailer - ((layer + piece.Length) * sizeof(uint)));
                return false;
            }
        }

        return true;
    }

    // The client may still write: what counts is what was copied, and the checksums are of that.
    private static bool CopyBlock(KvLayout layout, PendingBlock block, SealedSegment segment, long offset)
    {
        if (!block.Wanted)
            return false;
        var write = block.Write!;
        var bytes = write.Bytes;
        var cursor = new ChecksumCursor(layout, layout.AllLayers, write.Checksums);
        for (var done = 0; done < bytes.Length;)
        {
            var piece = bytes.Slice(done, Math.Min(bytes.Length - done, FrameSocket.ChunkBytes));
            segment.Read(offset + done, piece.Length).CopyTo(piece);
            cursor.Advance(piece);
            done += piece.Length;
        }

        return true;
    }
}
