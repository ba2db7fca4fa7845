using KvCache.Engine.Storage;

namespace KvCache.Silo.Data;

/// <content>Puts whose bytes come layer by layer, as a prefill computes them.</content>
internal sealed partial class PutPipeline
{
    /// <summary>
    /// Receives the payload of a put by layers. A block is reserved when its first bytes come, and all are before the second layer: every
    /// one of them gets its first layer before any gets its second.
    /// </summary>
    /// <param name="put">The put.</param>
    /// <param name="maxBytes">Most arena memory that is reserved at a time, but for the blocks that every put may prepare; blocks behind it
    /// are refused.</param>
    /// <exception cref="System.Net.Sockets.SocketException">The connection broke; nothing becomes visible.</exception>
    public PutOutcome[] ReceiveByLayers(in PutRequest put, long maxBytes)
    {
        var layout = put.Namespace.Layout;
        var blocks = new PendingBlock[put.Hashes.Length];
        var ends = new Task<PutOutcome>[blocks.Length];
        var most = Math.Max(window, maxBytes / Arena.RoundUp(layout.BlockBytes));
        int prepared = 0, finished = 0;
        _request = writer.BeginRequest(put);
        try
        {
            var received = new bool[blocks.Length]; // whole so far
            while (prepared < blocks.Length)
            {
                socket.WaitForBytes();
                var block = prepared < most ? Begin(in put, prepared) : new PendingBlock { Refusal = PutOutcome.NoMemory };
                blocks[prepared++] = block;
                received[prepared - 1] = ReceivePiece(layout, 0, block, isWhole: true);
            }

            for (var layer = 1; layer < layout.Layers; layer++)
            {
                betweenBlocks();
                for (var i = 0; i < blocks.Length; i++)
                    received[i] = ReceivePiece(layout, layer, blocks[i], received[i]);
            }

            for (; finished < blocks.Length; finished++)
            {
                var intact = received[finished] && ReceiveTrailer(layout, blocks[finished].Write!);
                if (!received[finished])
                    socket.Drain(layout.Layers * sizeof(uint));
                ends[finished] = writer.FinishAsync(blocks[finished], intact, finished == 0 ? Task.CompletedTask : ends[finished - 1]);
            }
        }
        catch
        {
            GiveUp(blocks.AsSpan(finished..prepared));
            throw;
        }

        return Array.ConvertAll(ends, end => end.GetAwaiter().GetResult());
    }

    private bool ReceivePiece(KvLayout layout, int layer, PendingBlock block, bool isWhole)
    {
        if (!isWhole || !block.Wanted)
        {
            socket.Drain(layout.LayerBytes(layer));
            return false;
        }

        var write = block.Write!;
        socket.ReceiveLayers(
            write.Bytes.Slice(layout.LayerOffset(layer), layout.LayerBytes(layer)), layout, new LayerRange(layer, 1),
            write.Checksums.Slice(layer, 1));
        block.Complete(layer + 1);
        return true;
    }
}
