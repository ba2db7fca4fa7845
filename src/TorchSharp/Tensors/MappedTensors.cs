using System.Runtime.CompilerServices;
using KvCache.Client;
using KvCache.Engine.Storage;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>Blocks in the mapped arena as TorchSharp tensors, without a copy.</summary>
public static class MappedTensors
{
    // libtorch maps the file once more for itself; views of that mapping cost microseconds, whatever their size.
    private static readonly ConditionalWeakTable<SharedArena, Dictionary<torch.ScalarType, torch.Tensor>> Arenas = [];

    /// <summary>A tensor of shape <c>[layers, parts, tokens, heads, dim]</c> over a block's memory.</summary>
    /// <param name="block">The block, whose lease must outlive the tensor.</param>
    /// <param name="layers">Layers of the tensor; null for all.</param>
    /// <returns>The caller disposes it. It must not be written: the silo's other readers see the same memory.</returns>
    /// <exception cref="ArgumentException">The layout is opaque.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The layers are outside the block.</exception>
    public static torch.Tensor AsTensor(this LeasedBlock block, LayerRange? layers = null)
    {
        ArgumentNullException.ThrowIfNull(block);
        var range = layers ?? block.Layout.AllLayers;
        var shape = KvCacheTensorExtensions.ShapeOf(block.Layout, range);
        var type = KvCacheTensorExtensions.ScalarTypeOf(block.Layout.DataType);
        var size = block.Layout.DataType.Size();
        var arena = ArenaOf(block.Arena, type, size);

        // Blocks begin at multiples of 4 KiB, and layers at multiples of an element.
        using var elements =
            arena.narrow(0, (block.Offset + block.Layout.LayerOffset(range.First)) / size, block.Layout.RangeBytes(range) / size);
        return elements.view(shape);
    }

    private static torch.Tensor ArenaOf(SharedArena arena, torch.ScalarType type, int size)
    {
        var byType = Arenas.GetOrCreateValue(arena);
        lock (byType)
        {
            if (!byType.TryGetValue(type, out var tensor))
                byType.Add(type,
                    tensor = torch.from_file(arena.Path, shared: true, size: arena.Bytes / size, dtype: type).DetachFromDisposeScope());
            return tensor;
        }
    }
}
