using System.Buffers.Binary;
using TorchSharp;

namespace KvCache.InferenceNode.Loading;

/// <summary>
/// Loads a checkpoint of llama2.c (https://github.com/karpathy/llama2.c, the format of <c>legacy_export</c>): seven 32-bit integers, then
/// float32 tensors, those of layers stored layer after layer.
/// </summary>
internal static class Llama2CLoader
{
    private const int HeaderBytes = 7 * sizeof(int);
    private const int VersionedMagic = 0x616b3432; // "ak42": the newer formats, which start with a version

    // Order in the file. Two tables of RoPE angles lie between the final norm and a head of its own; nobody reads them.
    private static readonly LlamaTensor[] Order =
    [
        LlamaTensor.Embedding, LlamaTensor.AttentionNorm, LlamaTensor.Query, LlamaTensor.Key, LlamaTensor.Value, LlamaTensor.Output,
        LlamaTensor.FeedForwardNorm, LlamaTensor.Gate, LlamaTensor.Down, LlamaTensor.Up, LlamaTensor.FinalNorm,
    ];

    public static LoadedModel Load(string path, ModelLoadOptions options)
    {
        using var stream = File.OpenRead(path);
        var (config, tied) = ReadHeader(path, stream);
        var offsets = Offsets(config, out var end);
        var expected = end + (tied ? 0 : Bytes(config, LlamaTensor.Head));
        if (stream.Length != expected)
            throw new ModelFormatException($"{path} has {stream.Length} bytes; a llama2.c checkpoint of this shape has {expected}.");

        offsets[LlamaTensor.Head] = end;
        var tokenizer = SentencePieceTokenizer.OpenForLlama2C(FindTokenizer(path, config, options), config.VocabularySize);
        var weights = LlamaWeightsReader.Read(config, tied, (tensor, layer, shape) =>
        {
            using var scope = torch.NewDisposeScope();
            var read = torch.empty(shape, torch.ScalarType.Float32);
            stream.Position = offsets[tensor] + layer * Bytes(config, tensor);
            read.ReadBytesFromStream(stream, 1 << 20);
            return read.to(options.ScalarType, options.Device).MoveToOuterDisposeScope();
        });
        return new LoadedModel(
            new LlamaModel(Path.GetFileNameWithoutExtension(path), Fingerprint.OfFiles([path]), config, weights), tokenizer);
    }

    private static (LlamaConfig Config, bool Tied) ReadHeader(string path, FileStream stream)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        if (stream.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false) < HeaderBytes)
            throw new ModelFormatException($"{path} is shorter than the {HeaderBytes} bytes that a llama2.c checkpoint starts with.");
        Span<int> fields = stackalloc int[7];
        for (var i = 0; i < fields.Length; i++)
            fields[i] = BinaryPrimitives.ReadInt32LittleEndian(header[(i * sizeof(int))..]);
        if (fields[0] == VersionedMagic)
            throw new ModelFormatException($"{path} is a versioned llama2.c export; only version 0, which has no version, is supported.");

        var (heads, vocabulary) = (fields[3], fields[5]);
        var config = new LlamaConfig
        {
            HiddenSize = fields[0],
            IntermediateSize = fields[1],
            Layers = fields[2],
            Heads = heads,
            KvHeads = fields[4],
            HeadDim = heads > 0 ? fields[0] / heads : 0,
            VocabularySize = vocabulary == int.MinValue ? 0 : Math.Abs(vocabulary),
            MaxContext = fields[6],
            RmsEpsilon = 1e-5,
            RopeTheta = 10000,
            RopeStyle = RopeStyle.InterleavedPairs,
        };
        try
        {
            config.Validate();
        }
        catch (ModelFormatException e)
        {
            throw new ModelFormatException($"{path} is not a llama2.c checkpoint: {e.Message}", e);
        }

        return (config, Tied: vocabulary > 0); // a negative size says that the head is a tensor of its own
    }

    private static Dictionary<LlamaTensor, long> Offsets(LlamaConfig config, out long end)
    {
        var offsets = new Dictionary<LlamaTensor, long>();
        end = HeaderBytes;
        foreach (var tensor in Order)
        {
            offsets[tensor] = end;
            end += Bytes(config, tensor) * (tensor is LlamaTensor.Embedding or LlamaTensor.FinalNorm ? 1 : config.Layers);
        }

        end += (long)config.MaxContext * config.HeadDim * sizeof(float);
        return offsets;
    }

    private static long Bytes(LlamaConfig config, LlamaTensor tensor) =>
        LlamaWeightsReader.Shape(config, tensor).Aggregate((long)sizeof(float), (product, dimension) => product * dimension);

    private static string FindTokenizer(string path, LlamaConfig config, ModelLoadOptions options)
    {
        if (options.TokenizerPath is not null)
            return options.TokenizerPath;
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        string[] candidates = [Path.Combine(folder, $"tok{config.VocabularySize}.model"), Path.Combine(folder, "tokenizer.model")];
        return candidates.FirstOrDefault(File.Exists)
            ?? throw new ModelFormatException(
                $"No tokenizer for {path}: expected {string.Join(" or ", candidates.Select(Path.GetFileName))} beside it, or a path in "
                + "the options.");
    }
}
