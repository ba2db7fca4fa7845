using TorchSharp;

namespace KvCache.InferenceNode.Loading;

/// <summary>The tensors of a Llama model, whatever a format calls them.</summary>
internal enum LlamaTensor
{
    Embedding,
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
    FinalNorm,
    Head,
}

/// <summary>Reads one tensor in its final element type and place.</summary>
/// <param name="tensor">Which one.</param>
/// <param name="layer">Its layer; 0 for those outside of layers.</param>
/// <param name="shape">The shape it must have.</param>
/// <exception cref="ModelFormatException">It is missing or has another shape.</exception>
internal delegate torch.Tensor ReadLlamaTensor(LlamaTensor tensor, int layer, long[] shape);

/// <summary>Puts the weights of a model together from any source: the one place that knows every tensor's shape.</summary>
internal static class LlamaWeightsReader
{
    /// <summary>Shape of a tensor in a model of this configuration.</summary>
    public static long[] Shape(LlamaConfig config, LlamaTensor tensor)
    {
        long hidden = config.HiddenSize;
        long queries = (long)config.Heads * config.HeadDim;
        long keys = (long)config.KvHeads * config.HeadDim;
        return tensor switch
        {
            LlamaTensor.Embedding or LlamaTensor.Head => [config.VocabularySize, hidden],
            LlamaTensor.AttentionNorm or LlamaTensor.FeedForwardNorm or LlamaTensor.FinalNorm => [hidden],
            LlamaTensor.Query => [queries, hidden],
            LlamaTensor.Key or LlamaTensor.Value => [keys, hidden],
            LlamaTensor.Output => [hidden, queries],
            LlamaTensor.Gate or LlamaTensor.Up => [config.IntermediateSize, hidden],
            LlamaTensor.Down => [hidden, config.IntermediateSize],
            _ => throw new ArgumentOutOfRangeException(nameof(tensor), tensor, "Unknown tensor."),
        };
    }

    /// <summary>Reads all tensors.</summary>
    /// <param name="config">A valid configuration.</param>
    /// <param name="tied">Whether the embedding serves as the head.</param>
    /// <param name="read">The source.</param>
    public static LlamaWeights Read(LlamaConfig config, bool tied, ReadLlamaTensor read)
    {
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var layers = new LlamaLayerWeights[config.Layers];
        try
        {
            for (var i = 0; i < layers.Length; i++)
            {
                using var layer = torch.NewDisposeScope(); // separate projections go as soon as they are joined
                layers[i] = new LlamaLayerWeights(
                    One(LlamaTensor.AttentionNorm, i), One(LlamaTensor.Query, i), One(LlamaTensor.Key, i), One(LlamaTensor.Value, i),
                        One(LlamaTensor.Output, i),
                    One(LlamaTensor.FeedForwardNorm, i), One(LlamaTensor.Gate, i), One(LlamaTensor.Up, i), One(LlamaTensor.Down, i));
            }

            return new LlamaWeights(
                One(LlamaTensor.Embedding, 0), layers, One(LlamaTensor.FinalNorm, 0), tied ? null : One(LlamaTensor.Head, 0));
        }
        catch
        {
            foreach (var layer in layers)
                layer?.Dispose();
            throw;
        }

        torch.Tensor One(LlamaTensor tensor, int layer) => read(tensor, layer, Shape(config, tensor));
    }
}
