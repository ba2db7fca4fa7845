using System.Text.Json;
using KvCache.TorchSharp;

namespace KvCache.InferenceNode.Loading;

/// <summary>Loads a Llama model from a Hugging Face directory: config.json, safetensors weights, a tokenizer.</summary>
internal static class HuggingFaceLoader
{
    public static LoadedModel Load(string directory, ModelLoadOptions options)
    {
        var configPath = Path.Combine(directory, "config.json");
        var config = HuggingFaceConfig.Read(configPath);
        var tokenizer = LoadTokenizer(directory, config);
        using var checkpoint = SafetensorsCheckpoint.Open(directory);
        var weights = LlamaWeightsReader.Read(config.Model, config.Tied, (tensor, layer, shape) =>
            checkpoint.Read(TensorName(tensor, layer), shape, options.ScalarType, options.Device));
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)));
        return new LoadedModel(
            new LlamaModel(name, Fingerprint.OfFiles([configPath, .. checkpoint.Paths]), config.Model, weights), tokenizer);
    }

    private static string TensorName(LlamaTensor tensor, int layer) => tensor switch
    {
        LlamaTensor.Embedding => "model.embed_tokens.weight",
        LlamaTensor.FinalNorm => "model.norm.weight",
        LlamaTensor.Head => "lm_head.weight",
        _ => $"model.layers.{layer}." + tensor switch
        {
            LlamaTensor.AttentionNorm => "input_layernorm.weight",
            LlamaTensor.Query => "self_attn.q_proj.weight",
            LlamaTensor.Key => "self_attn.k_proj.weight",
            LlamaTensor.Value => "self_attn.v_proj.weight",
            LlamaTensor.Output => "self_attn.o_proj.weight",
            LlamaTensor.FeedForwardNorm => "post_attention_layernorm.weight",
            LlamaTensor.Gate => "mlp.gate_proj.weight",
            LlamaTensor.Up => "mlp.up_proj.weight",
            LlamaTensor.Down => "mlp.down_proj.weight",
            _ => throw new ArgumentOutOfRangeException(nameof(tensor), tensor, "Unknown tensor."),
        },
    };

    private static ITokenizer LoadTokenizer(string directory, HuggingFaceConfig config)
    {
        var path = Path.Combine(directory, "tokenizer_config.json");
        if (File.Exists(path))
        {
            using var document = JsonFile.Read(path);
            if (document.RootElement.TryGetProperty("tokenizer_class", out var name) && name.ValueKind == JsonValueKind.String
                && name.ValueEquals("ByteTokenizer"))
                return new ByteTokenizer(config.Model.VocabularySize, config.EndOfSequence);
        }

        var sentencePiece = Path.Combine(directory, "tokenizer.model");
        return File.Exists(sentencePiece)
            ? SentencePieceTokenizer.Open(sentencePiece, config.Model.VocabularySize, config.EndOfSequence)
            : throw new ModelFormatException(
                $"{directory} has no tokenizer this program knows: expected tokenizer.model (SentencePiece), or a tokenizer_config.json "
                + "with tokenizer_class ByteTokenizer. tokenizer.json alone is not supported.");
    }
}
