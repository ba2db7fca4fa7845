using KvCache.Caching;
using KvCache.TorchSharp.Tensors;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>Blocks as TorchSharp tensors of shape <c>[layers, parts, tokens, heads, dim]</c>.</summary>
public static class KvCacheTensorExtensions
{
    /// <summary>Loads blocks into new CPU tensors.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="count">Number of blocks.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip (<see cref="IKvCache.LoadAsync"/>); null
    /// for none.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>The blocks that could be had, first block first, and why not more. Dispose it, and with it the tensors.</returns>
    /// <exception cref="ArgumentException">The layout is opaque, or the run is outside the prefix.</exception>
    public static async ValueTask<LoadedTensors> LoadTensorsAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, int count, LayerRange? layers = null, CacheMatch? match = null,
            CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        BlockArguments.CheckRun(prefix, firstBlock, count);
        var layout = prefix.Namespace.Layout;
        var shape = ShapeOf(layout, BlockArguments.CheckLayers(layout, layers));
        var tensors = new List<torch.Tensor>(count);
        var kept = 0;
        try
        {
            for (var i = 0; i < count; i++)
                tensors.Add(torch.empty(shape, dtype: ScalarTypeOf(layout.DataType)).DetachFromDisposeScope());
            var memory = tensors.ConvertAll(tensor => new TensorMemory(tensor).Memory);
            var result = await cache.LoadAsync(prefix, firstBlock, memory, layers, match, cancellationToken).ConfigureAwait(false);
            kept = result.Blocks;
            return new LoadedTensors(tensors.GetRange(0, kept), result);
        }
        finally
        {
            for (var i = kept; i < tensors.Count; i++)
                tensors[i].Dispose();
        }
    }

    /// <summary>Begins to load blocks layer by layer into new CPU tensors.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="count">Number of blocks, at least one.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip (<see cref="IKvCache.LoadAsync"/>); null
    /// for none.</param>
    /// <param name="cancellationToken">Cancels the load.</param>
    /// <returns>The load, which is running. Dispose it.</returns>
    /// <exception cref="ArgumentException">The layout is opaque, the run is outside the prefix, or there is no block to load.</exception>
    public static LayerTensors LoadLayerTensors(
        this IKvCache cache, KvPrefix prefix, int firstBlock, int count, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        BlockArguments.CheckRun(prefix, firstBlock, count);
        if (count == 0)
            throw new ArgumentException("No block was asked for; at least one was expected.", nameof(count));
        var layout = prefix.Namespace.Layout;
        var range = BlockArguments.CheckLayers(layout, layers);
        var tensors = new torch.Tensor[count];
        try
        {
            for (var i = 0; i < count; i++)
                tensors[i] = torch.empty(ShapeOf(layout, range), dtype: ScalarTypeOf(layout.DataType)).DetachFromDisposeScope();
            return new LayerTensors(cache, prefix, firstBlock, tensors, range, staging: null, match, cancellationToken);
        }
        catch
        {
            foreach (var tensor in tensors)
                tensor?.Dispose();
            throw;
        }
    }

    /// <summary>Loads blocks into the caller's tensors.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="destinations">Contiguous CPU tensors, each as large as the layers of a block.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip (<see cref="IKvCache.LoadAsync"/>); null
    /// for none.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    public static ValueTask<LoadResult> LoadAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<torch.Tensor> destinations, LayerRange? layers = null,
        CacheMatch? match = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(destinations);
        return cache.LoadAsync(
            prefix, firstBlock, destinations.Select(tensor => new TensorMemory(tensor).Memory).ToArray(), layers, match, cancellationToken);
    }

    /// <summary>Stores blocks from tensors.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block given.</param>
    /// <param name="blocks">Contiguous CPU tensors in the layout's element type; not disposed.</param>
    /// <param name="options">Time to live and what eviction should know.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    public static ValueTask<StoreResult> StoreAsync(
        this IKvCache cache, KvPrefix prefix, int firstBlock, IReadOnlyList<torch.Tensor> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(blocks);
        return cache.StoreAsync(
            prefix, firstBlock, blocks.Select(tensor => (ReadOnlyMemory<byte>)new TensorMemory(tensor).Memory).ToArray(), options,
            cancellationToken);
    }

    /// <summary>Shape of a tensor with a run of a block's layers.</summary>
    /// <exception cref="ArgumentException">The layout is opaque: its bytes have no tensor shape.</exception>
    public static long[] ShapeOf(KvLayout layout, LayerRange range)
    {
        ArgumentNullException.ThrowIfNull(layout);
        return layout.IsOpaque
            ? throw new ArgumentException("An opaque layout has no tensor shape; load it into memory instead.", nameof(layout))
            : [range.Count, layout.Parts, layout.TokensPerBlock, layout.KvHeads, layout.HeadDim];
    }

    /// <summary>TorchSharp's name of an element type. The 8-bit floats are held as bytes.</summary>
    public static torch.ScalarType ScalarTypeOf(KvDataType type) => type switch
    {
        KvDataType.Float32 => torch.ScalarType.Float32,
        KvDataType.Float16 => torch.ScalarType.Float16,
        KvDataType.BFloat16 => torch.ScalarType.BFloat16,
        _ => torch.ScalarType.Byte,
    };
}
