using KvCache.InferenceNode.Loading;
using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>
/// Models of real shapes with random weights: they compute as fast, and their KV is as large, as that of trained ones. Their
/// text is noise.
/// </summary>
public static class RandomModels
{
    private static readonly Dictionary<string, (LlamaConfig Config, bool Tied)> Shapes = new(StringComparer.Ordinal)
    {
        ["tiny"] = (Shape(hidden: 256, intermediate: 704, layers: 4, heads: 8, kvHeads: 4, vocabulary: 512, context: 8192), true),
        ["small"] = (Shape(hidden: 768, intermediate: 2048, layers: 12, heads: 12, kvHeads: 4, vocabulary: 32000, context: 32768), true),
        ["llama-1b"] =
            (Shape(hidden: 2048, intermediate: 8192, layers: 16, heads: 32, kvHeads: 8, vocabulary: 128256, context: 131072,
            theta: 500000), true),
        ["llama-8b"] =
            (Shape(hidden: 4096, intermediate: 14336, layers: 32, heads: 32, kvHeads: 8, vocabulary: 128256, context: 131072,
            theta: 500000), false),
    };

    /// <summary>Names of the shapes; llama-1b and llama-8b are those of Llama 3.2 1B and Llama 3.1 8B without RoPE scaling.</summary>
    public static IReadOnlyCollection<string> Names => Shapes.Keys;

    /// <summary>Number of elements of all weights of a shape: what says whether a host has the memory for it.</summary>
    /// <exception cref="ModelFormatException">There is no shape of this name.</exception>
    public static long CountWeights(string name)
    {
        var (config, tied) = ShapeOf(name);
        return Enum.GetValues<LlamaTensor>()
            .Sum(tensor => LlamaWeightsReader.Shape(config, tensor).Aggregate(1L, (all, size) => all * size) * tensor switch
            {
                LlamaTensor.Head => tied ? 0 : 1,
                LlamaTensor.Embedding or LlamaTensor.FinalNorm => 1,
                _ => config.Layers,
            });
    }

    /// <summary>Makes a model whose weights depend on shape, seed and element type only. Its tokens are bytes.</summary>
    /// <exception cref="ModelFormatException">There is no shape of this name.</exception>
    public static LoadedModel Create(string name, ModelLoadOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var shape = ShapeOf(name);
        using var generator = new torch.Generator((ulong)options.Seed, torch.CPU);
        var weights = LlamaWeightsReader.Read(shape.Config, shape.Tied, (_, _, dimensions) =>
        {
            using var scope = torch.NewDisposeScope();
            var tensor = dimensions.Length == 1
                ? torch.ones(dimensions, options.ScalarType) // norms
                : torch.empty(dimensions, options.ScalarType).uniform_(-0.035, 0.035, generator); // variance 0.02², as Llama is initialised
            return tensor.to(options.ScalarType, options.Device).MoveToOuterDisposeScope();
        });
        var model = new LlamaModel($"random:{name}", $"seed-{options.Seed}", shape.Config, weights);
        return new LoadedModel(model, new ByteTokenizer(shape.Config.VocabularySize, endOfSequence: null));
    }

    private static (LlamaConfig Config, bool Tied) ShapeOf(string name) => Shapes.TryGetValue(name, out var shape)
        ? shape
        : throw new ModelFormatException($"There is no random model '{name}'; expected one of {string.Join(", ", Names)}.");

    private static LlamaConfig Shape(
        int hidden, int intermediate, int layers, int heads, int kvHeads, int vocabulary, int context, double theta = 10000) => new()
        {
            HiddenSize = hidden,
            IntermediateSize = intermediate,
            Layers = layers,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = hidden / heads,
            VocabularySize = vocabulary,
            MaxContext = context,
            RmsEpsilon = 1e-5,
            RopeTheta = theta,
            RopeStyle = RopeStyle.RotateHalves,
        };
}
