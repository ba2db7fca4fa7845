using KvCache.Caching;
using KvCache.Client.Cluster;

namespace KvCache.Client;

/// <summary>Loads into, and stores from, memory in which a block lies in several pieces.</summary>
public static class ScatteredBlocks
{
    /// <summary>Loads blocks into pieces of memory.</summary>
    /// <remarks>
    /// The cache is asked for as many blocks at once as the buffer has room for. A layer is copied to its pieces while the next one is on
    /// its way, and all layers of a block are of one write: asking for each layer by itself would promise neither.
    /// </remarks>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix, in the layout of the buffer.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="destinations">For each block its pieces, in the order of the layout, of any sizes that make up <paramref
    /// name="layers"/> of a block.</param>
    /// <param name="buffer">The buffer.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, as in <see cref="IKvCache.LoadAsync"/>; null for none.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>How many blocks are complete and verified. The memory of the others has undefined content.</returns>
    /// <exception cref="ArgumentException">Layout or sizes do not fit, or the run is outside the prefix.</exception>
    public static async ValueTask<LoadResult> LoadAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<IReadOnlyList<Memory<byte>>> destinations,
        ScatterBuffer buffer, LayerRange? layers = null, CacheMatch? match = null, CancellationToken cancellationToken = default)
    {
        var range = Check(cache, prefix, firstBlock, destinations, buffer, layers, nameof(destinations), memory => memory.Length);
        await buffer.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (var (first, count) in RequestPieces.Of(0, destinations.Count, buffer.Blocks))
            {
                var memory = new Memory<byte>[count];
                var cursors = new PieceCursor[count];
                for (var i = 0; i < count; i++)
                    (memory[i], cursors[i]) = (buffer.MemoryOf(i, range), new PieceCursor(destinations[first + i]));
                var last = new LoadedLayer(range.First, 0, MissReason.Unavailable);
                var loading = cache.LoadLayersAsync(prefix, firstBlock + first, memory, layers, match, cancellationToken);
                await foreach (var layer in loading.ConfigureAwait(false))
                {
                    last = layer;
                    var (start, bytes) = (buffer.Layout.OffsetIn(range, layer.Layer), buffer.Layout.LayerBytes(layer.Layer));
                    for (var i = 0; i < layer.Blocks; i++)
                        cursors[i].Write(memory[i].Span.Slice(start, bytes));
                }

                if (last.Blocks < count)
                    return new LoadResult(first + last.Blocks, last.Reason) { Error = last.Error };
            }

            return new LoadResult(destinations.Count, MissReason.None);
        }
        finally
        {
            buffer.Leave();
        }
    }

    /// <summary>Stores blocks from pieces of memory. They are put together in the buffer, as many at once as it has room for.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix, in the layout of the buffer.</param>
    /// <param name="firstBlock">Index of the first block given.</param>
    /// <param name="blocks">For each block its pieces, in the order of the layout, of any sizes that make up a block.</param>
    /// <param name="buffer">The buffer.</param>
    /// <param name="options">Time to live, where the blocks are to survive, and what eviction should know; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>What became of the blocks; when a call for some of them ends early, the others are not tried.</returns>
    /// <exception cref="ArgumentException">Layout or sizes do not fit, or the run is outside the prefix.</exception>
    public static async ValueTask<StoreResult> StoreAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<IReadOnlyList<ReadOnlyMemory<byte>>> blocks,
        ScatterBuffer buffer, StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        var range = Check(cache, prefix, firstBlock, blocks, buffer, null, nameof(blocks), memory => memory.Length);
        await buffer.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var all = default(StoreResult);
            foreach (var (first, count) in RequestPieces.Of(0, blocks.Count, buffer.Blocks))
            {
                var memory = new ReadOnlyMemory<byte>[count];
                for (var i = 0; i < count; i++)
                {
                    var block = buffer.MemoryOf(i, range);
                    memory[i] = block;
                    foreach (var piece in blocks[first + i])
                    {
                        piece.CopyTo(block);
                        block = block[piece.Length..];
                    }
                }

                var stored = await cache.StoreAsync(prefix, firstBlock + first, memory, options, cancellationToken).ConfigureAwait(false);
                all = all.Add(stored);
                if (stored.Reason != MissReason.None)
                    break;
            }

            return all;
        }
        finally
        {
            buffer.Leave();
        }
    }

    private static LayerRange Check<T>(
        IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<IReadOnlyList<T>> blocks, ScatterBuffer buffer, LayerRange? layers,
        string name, Func<T, int> lengthOf)
    {
        ArgumentNullException.ThrowIfNull(cache);
        BlockArguments.CheckPrefix(prefix);
        ArgumentNullException.ThrowIfNull(blocks, name);
        ArgumentNullException.ThrowIfNull(buffer);
        BlockArguments.CheckRun(prefix, firstBlock, blocks.Count);
        if (!buffer.Layout.Equals(prefix.Namespace.Layout))
            throw new ArgumentException(
                $"The buffer is for blocks of {buffer.Layout}, and the prefix has blocks of {prefix.Namespace.Layout}.", nameof(buffer));
        var range = BlockArguments.CheckLayers(buffer.Layout, layers);
        var bytes = buffer.Layout.RangeBytes(range);
        for (var i = 0; i < blocks.Count; i++)
        {
            if (blocks[i] is null)
                throw new ArgumentException($"Block {firstBlock + i} has no pieces; a list of them was expected.", name);
            if (blocks[i].Sum(piece => (long)lengthOf(piece)) is var length && length != bytes)
                throw new ArgumentException(
                    $"The pieces of block {firstBlock + i} have {length} bytes; layers {range} have {bytes}.", name);
        }

        return range;
    }

    // Where the next byte of a block goes.
    private struct PieceCursor(IReadOnlyList<Memory<byte>> pieces)
    {
        private int _piece, _offset;

        public void Write(ReadOnlySpan<byte> bytes)
        {
            while (!bytes.IsEmpty)
            {
                var room = pieces[_piece].Span[_offset..];
                var count = Math.Min(room.Length, bytes.Length);
                bytes[..count].CopyTo(room);
                bytes = bytes[count..];
                (_piece, _offset) = count == room.Length ? (_piece + 1, 0) : (_piece, _offset + count);
            }
        }
    }
}
