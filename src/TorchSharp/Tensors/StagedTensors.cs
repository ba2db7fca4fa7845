using KvCache.Caching;
using KvCache.Client.Cluster;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>Loads into, and stores from, tensors of any device and any strides, through a <see cref="StagingRing"/>.</summary>
public static class StagedTensors
{
    /// <summary>Loads blocks into tensors of the ring's device.</summary>
    /// <remarks>The cache is asked for one buffer of the ring after the other, each with the deadline of a load. When this returns, the
    /// copies have ended.</remarks>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix, in the layout of the ring.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="destinations">Tensors of shape <c>[layers, parts, tokens, heads, dim]</c> on the ring's device, with any strides: parts
    /// of an engine's KV memory, for example.</param>
    /// <param name="staging">The ring.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip (<see cref="IKvCache.LoadAsync"/>); null
    /// for none.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>How many blocks are complete and verified. The tensors of the others have undefined content.</returns>
    /// <exception cref="ArgumentException">Shape, element type or device do not fit, or the run is outside the prefix.</exception>
    public static async ValueTask<LoadResult> LoadAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<torch.Tensor> destinations, StagingRing staging,
            LayerRange? layers = null, CacheMatch? match = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(staging);
        var range = staging.Check(prefix, destinations, layers, nameof(destinations));
        BlockArguments.CheckRun(prefix, firstBlock, destinations.Count);
        await staging.EnterAsync(cancellationToken).ConfigureAwait(false);
        var receiving = Task.FromResult(default(LoadResult));
        try
        {
            List<(int First, int Count)> pieces = [.. RequestPieces.Of(0, destinations.Count, staging.Blocks)];
            var done = 0;
            for (var i = 0; i < pieces.Count; i++)
            {
                if (i == 0)
                    receiving = ReceiveAsync(0);
                var result = await receiving.ConfigureAwait(false);

                // The next buffer is asked for before this one is copied: that is the overlap.
                var isComplete = result.Blocks == pieces[i].Count;
                if (isComplete && i + 1 < pieces.Count)
                    receiving = ReceiveAsync(i + 1);
                for (var block = 0; block < result.Blocks; block++)
                    staging.CopyTo(destinations[done++], i % staging.Buffers, block, range);
                if (!isComplete)
                    return result with { Blocks = done };
            }

            return new LoadResult(done, MissReason.None);

            Task<LoadResult> ReceiveAsync(int piece)
            {
                staging.AwaitCopies(); // out of this buffer, a turn of the ring ago
                var memory = new Memory<byte>[pieces[piece].Count];
                for (var block = 0; block < memory.Length; block++)
                    memory[block] = staging.Memory(piece % staging.Buffers, block, range);
                return cache.LoadAsync(prefix, firstBlock + pieces[piece].First, memory, layers, match, cancellationToken).AsTask();
            }
        }
        finally
        {
            await LeaveAsync(staging, receiving).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Begins to load blocks layer by layer into the buffers of a ring, from where <see cref="LayerTensors.CopyToAsync"/> takes each layer
    /// to the device, in order with what is
    /// computed there. The ring is in use until the load is disposed.
    /// </summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix, in the layout of the ring.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="count">Number of blocks, at least one, and at most as many as all buffers of the ring have: layers do not wait for each
    /// other.</param>
    /// <param name="staging">The ring.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip (<see cref="IKvCache.LoadAsync"/>); null
    /// for none.</param>
    /// <param name="cancellationToken">Cancels the load.</param>
    /// <returns>The load, which is running. Dispose it.</returns>
    /// <exception cref="ArgumentException">The layout is another one than the ring's, the run is outside the prefix, or there are too many
    /// blocks for the ring, or none.</exception>
    public static async ValueTask<LayerTensors> LoadLayerTensorsAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, int count, StagingRing staging, LayerRange? layers = null,
            CacheMatch? match = null,
            CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(staging);
        var range = staging.Check(prefix, [], layers, nameof(prefix));
        if (count < 1 || count > (long)staging.Blocks * staging.Buffers)
            throw new ArgumentException(
                $"{count} blocks were asked for; the buffers of the ring have 1 to {(long)staging.Blocks * staging.Buffers}.",
                nameof(count));
        await staging.EnterAsync(cancellationToken).ConfigureAwait(false);
        torch.Tensor[] blocks =
            [.. Enumerable.Range(0, count)
            .Select(i => staging.View(i / staging.Blocks, i % staging.Blocks, range).DetachFromDisposeScope())];
        try
        {
            return new LayerTensors(cache, prefix, firstBlock, blocks, range, staging, match, cancellationToken);
        }
        catch
        {
            foreach (var block in blocks)
                block.Dispose();
            staging.Leave();
            throw;
        }
    }

    /// <summary>Stores blocks from tensors of the ring's device.</summary>
    /// <remarks>One buffer of the ring goes to the cache while the next is filled. The call ends early when a buffer is not stored whole:
    /// what follows could not be found.</remarks>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix, in the layout of the ring.</param>
    /// <param name="firstBlock">Index of the first block given.</param>
    /// <param name="blocks">Tensors of shape <c>[layers, parts, tokens, heads, dim]</c> on the ring's device, with any strides; not
    /// disposed.</param>
    /// <param name="staging">The ring.</param>
    /// <param name="options">Time to live and what eviction should know.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">Shape, element type or device do not fit, or there are more blocks than the prefix
    /// has.</exception>
    public static async ValueTask<StoreResult> StoreAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<torch.Tensor> blocks, StagingRing staging,
            StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(staging);
        var range = staging.Check(prefix, blocks, layers: null, nameof(blocks));
        BlockArguments.CheckRun(prefix, firstBlock, blocks.Count);
        await staging.EnterAsync(cancellationToken).ConfigureAwait(false);
        var sending = Task.FromResult(default(StoreResult));
        try
        {
            var result = default(StoreResult);
            var sent = 0;
            foreach (var (piece, (first, count)) in RequestPieces.Of(0, blocks.Count, staging.Blocks).Index())
            {
                var buffer = piece % staging.Buffers;
                for (var block = 0; block < count; block++)
                    staging.CopyFrom(blocks[first + block], buffer, block, range);
                staging.AwaitCopies(); // the cache reads the buffer
                result = result.Add(await sending.ConfigureAwait(false));
                if (result.Stored + result.AlreadyStored < sent)
                    return result;
                sending = cache.StoreAsync(
                    prefix, firstBlock + first,
                        [.. Enumerable.Range(0, count).Select(block => (ReadOnlyMemory<byte>)staging.Memory(buffer, block, range))],
                        options, cancellationToken).AsTask();
                sent += count;
            }

            return result.Add(await sending.ConfigureAwait(false));
        }
        finally
        {
            await LeaveAsync(staging, sending).ConfigureAwait(false);
        }
    }

    // Whatever happened: nobody uses the buffers, and no copy to the caller's tensors is under way.
    private static async Task LeaveAsync(StagingRing staging, Task running)
    {
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        staging.AwaitCopies();
        staging.Leave();
    }
}
