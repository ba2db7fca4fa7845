using System.IO.Pipelines;
using KvCache.Checksums;
using KvCache.Engine.Storage;

namespace KvCache.Silo.Http;

/// <summary>
/// Moves the bytes of a block between an HTTP body and the arena. They pass through the server's pooled pieces of a few KiB, never through
/// a managed array of the block's size.
/// </summary>
internal static class BlockBody
{
    // The server holds back a writer above 64 KiB: a flush for each of these keeps its buffer full and no fuller.
    private const int FlushBytes = 64 * 1024;

    /// <summary>Receives a block and computes the checksum of every layer as it becomes complete, while it is still in the processor's
    /// cache.</summary>
    /// <returns>Bytes received: fewer than the block has when the body ended early, one more when it is longer.</returns>
    public static async Task<int> ReceiveAsync(PipeReader body, BlockWrite write, CancellationToken cancellationToken)
    {
        int received = 0, layer = 0;
        var layout = write.Layout;
        while (true)
        {
            var piece = await body.ReadAsync(cancellationToken);
            foreach (var segment in piece.Buffer)
            {
                if (segment.Length > layout.BlockBytes - received)
                {
                    body.AdvanceTo(piece.Buffer.End);
                    return layout.BlockBytes + 1;
                }

                segment.Span.CopyTo(write.Bytes[received..]);
                received += segment.Length;
            }

            body.AdvanceTo(piece.Buffer.End);
            for (; layer < layout.Layers && layout.LayerOffset(layer + 1) <= received; layer++)
                write.Checksums[layer] = BlockChecksum.Compute(write.Bytes.Slice(layout.LayerOffset(layer), layout.LayerBytes(layer)));
            if (piece.IsCompleted)
                return received;
        }
    }

    /// <summary>Reads what nobody wants, as much of it as a block may have, so that the client hears why.</summary>
    public static async Task DrainAsync(PipeReader body, int bytes, CancellationToken cancellationToken)
    {
        for (long drained = 0; drained <= bytes;)
        {
            var piece = await body.ReadAsync(cancellationToken);
            drained += piece.Buffer.Length;
            body.AdvanceTo(piece.Buffer.End);
            if (piece.IsCompleted)
                return;
        }
    }

    /// <summary>Sends a run of layers.</summary>
    public static async Task SendAsync(PipeWriter body, BlockLease lease, LayerRange range, CancellationToken cancellationToken)
    {
        var length = lease.Layout.RangeBytes(range);
        int sent = 0, unflushed = 0;
        while (sent < length)
        {
            var count = Copy(lease.Layers(range)[sent..], body);
            sent += count;
            unflushed += count;
            if (unflushed < FlushBytes && sent < length)
                continue;
            unflushed = 0;
            if ((await body.FlushAsync(cancellationToken)).IsCompleted)
                return; // the client has gone
        }
    }

    private static int Copy(ReadOnlySpan<byte> bytes, PipeWriter body)
    {
        var span = body.GetSpan();
        var count = Math.Min(span.Length, bytes.Length);
        bytes[..count].CopyTo(span);
        body.Advance(count);
        return count;
    }
}
