using System.Text.Json;

namespace KvCache.InferenceNode.Loading;

/// <summary>What <c>config.json</c> of a Hugging Face Llama model says.</summary>
/// <param name="Model">The model's shape.</param>
/// <param name="Tied">Whether the embedding serves as the head.</param>
/// <param name="EndOfSequence">The first end token, if the model has one.</param>
internal sealed record HuggingFaceConfig(LlamaConfig Model, bool Tied, int? EndOfSequence)
{
    /// <summary>Reads and checks a file. A model that this program would compute wrongly is refused.</summary>
    /// <exception cref="ModelFormatException">A field is missing or has a value that is not supported.</exception>
    public static HuggingFaceConfig Read(string path)
    {
        using var document = JsonFile.Read(path);
        try
        {
            return Parse(document.RootElement);
        }
        catch (ModelFormatException e)
        {
            throw new ModelFormatException($"{path}: {e.Message}", e);
        }
    }

    private static HuggingFaceConfig Parse(JsonElement root)
    {
        Expect(root, "model_type", "\"llama\"", required: true);
        Expect(root, "hidden_act", "\"silu\"");
        Expect(root, "attention_bias", "false");
        Expect(root, "mlp_bias", "false");
        Expect(root, "rope_scaling", "null");
        Expect(root, "rope_parameters", "null");
        Expect(root, "quantization_config", "null");

        var heads = Integer(root, "num_attention_heads");
        var hidden = Integer(root, "hidden_size");
        var model = new LlamaConfig
        {
            HiddenSize = hidden,
            IntermediateSize = Integer(root, "intermediate_size"),
            Layers = Integer(root, "num_hidden_layers"),
            Heads = heads,
            KvHeads = Integer(root, "num_key_value_heads", heads),
            HeadDim = Integer(root, "head_dim", heads > 0 ? hidden / heads : 0),
            VocabularySize = Integer(root, "vocab_size"),
            MaxContext = Integer(root, "max_position_embeddings"),
            RmsEpsilon = Number(root, "rms_norm_eps", 1e-6),
            RopeTheta = Number(root, "rope_theta", 10000),
            RopeStyle = RopeStyle.RotateHalves,
        };
        model.Validate();
        var tied = root.TryGetProperty("tie_word_embeddings", out var value) && value.ValueKind == JsonValueKind.True;
        return new HuggingFaceConfig(model, tied, EndToken(root));
    }

    private static void Expect(JsonElement root, string field, string expected, bool required = false)
    {
        var found = root.TryGetProperty(field, out var value);
        var isDefault = !required && (!found || value.ValueKind == JsonValueKind.Null);
        if (!isDefault && (!found || value.GetRawText() != expected))
            throw new ModelFormatException($"'{field}' is {(found ? value.GetRawText() : "missing")}; only {expected} is supported.");
    }

    private static int Integer(JsonElement root, string field, int? missing = null)
    {
        if (!root.TryGetProperty(field, out var value) || value.ValueKind == JsonValueKind.Null)
            return missing ?? throw new ModelFormatException($"'{field}' is missing; expected a whole number.");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number)
            ? number
            : throw new ModelFormatException($"'{field}' is {value.GetRawText()}; expected a whole number.");
    }

    private static double Number(JsonElement root, string field, double missing)
    {
        if (!root.TryGetProperty(field, out var value) || value.ValueKind == JsonValueKind.Null)
            return missing;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number)
            ? number
            : throw new ModelFormatException($"'{field}' is {value.GetRawText()}; expected a number.");
    }

    private static int? EndToken(JsonElement root)
    {
        if (!root.TryGetProperty("eos_token_id", out var value))
            return null;
        if (value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0)
            value = value[0];
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var token) ? token : null;
    }
}
