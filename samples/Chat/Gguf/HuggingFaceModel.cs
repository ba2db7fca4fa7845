using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace KvCache.Chat.Gguf;

/// <summary>A small model of the Llama architecture in Hugging Face's form, one token for each ASCII character, as the one of
/// samples/QuickStart is. Written in float32, in which it is to be computed.</summary>
internal static class HuggingFaceModel
{
    /// <summary>Writes the GGUF of a directory with config.json and model.safetensors.</summary>
    /// <exception cref="InvalidDataException">It is not such a model.</exception>
    public static void Write(string directory, string path)
    {
        using var config = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "config.json")));
        var shape = ShapeOf(config.RootElement, Path.GetFileName(Path.GetFullPath(directory).TrimEnd('/')));
        var tensors = Safetensors.Read(Path.Combine(directory, "model.safetensors"));
        var file = new GgufFile();
        shape.Describe(file, GgufType.F32);
        Add("token_embd", shape.Vocabulary, shape.Dim, tensors("model.embed_tokens.weight"));
        Add("output_norm", 0, shape.Dim, tensors("model.norm.weight"));
        if (!config.RootElement.GetProperty("tie_word_embeddings").GetBoolean())
            Add("output", shape.Vocabulary, shape.Dim, tensors("lm_head.weight"));
        var (query, kv) = (shape.Heads * shape.HeadDim, shape.KvHeads * shape.HeadDim);
        for (var i = 0; i < shape.Layers; i++)
        {
            var (source, target) = ($"model.layers.{i}.", $"blk.{i}.");
            Add(target + "attn_norm", 0, shape.Dim, tensors(source + "input_layernorm.weight"));
            Add(target + "attn_q", query, shape.Dim, Interleave(tensors(source + "self_attn.q_proj.weight"), shape.Heads, shape.Dim));
            Add(target + "attn_k", kv, shape.Dim, Interleave(tensors(source + "self_attn.k_proj.weight"), shape.KvHeads, shape.Dim));
            Add(target + "attn_v", kv, shape.Dim, tensors(source + "self_attn.v_proj.weight"));
            Add(target + "attn_output", shape.Dim, query, tensors(source + "self_attn.o_proj.weight"));
            Add(target + "ffn_norm", 0, shape.Dim, tensors(source + "post_attention_layernorm.weight"));
            Add(target + "ffn_gate", shape.Hidden, shape.Dim, tensors(source + "mlp.gate_proj.weight"));
            Add(target + "ffn_up", shape.Hidden, shape.Dim, tensors(source + "mlp.up_proj.weight"));
            Add(target + "ffn_down", shape.Dim, shape.Hidden, tensors(source + "mlp.down_proj.weight"));
        }

        file.Write(path);

        void Add(string name, int rows, int columns, float[] values) => file.Add(
            name + ".weight", rows, columns, GgufType.F32, stream => stream.Write(MemoryMarshal.AsBytes<float>(values)));
    }

    /// <summary>
    /// Rows of queries or keys from rotating halves (Hugging Face) to rotating pairs (llama.cpp): row i of a head's first half goes before
    /// row i of its second.
    /// </summary>
    private static float[] Interleave(float[] values, int heads, int columns)
    {
        var half = values.Length / columns / heads / 2;
        var result = new float[values.Length];
        for (var to = 0; to < values.Length / columns; to++)
        {
            var (head, row) = Math.DivRem(to, 2 * half);
            var from = (head * 2 * half) + (row % 2 * half) + (row / 2);
            values.AsSpan(from * columns, columns).CopyTo(result.AsSpan(to * columns));
        }

        return result;
    }

    private static LlamaShape ShapeOf(JsonElement config, string name)
    {
        var (dim, heads) = (Number("hidden_size"), Number("num_attention_heads"));
        return new LlamaShape
        {
            Name = name,
            Layers = Number("num_hidden_layers"),
            Dim = dim,
            Hidden = Number("intermediate_size"),
            Heads = heads,
            KvHeads = Number("num_key_value_heads"),
            HeadDim = config.TryGetProperty("head_dim", out var head) ? head.GetInt32() : dim / heads,
            Vocabulary = Number("vocab_size"),
            Context = Number("max_position_embeddings"),
            Epsilon = config.GetProperty("rms_norm_eps").GetSingle(),
            Theta = config.GetProperty("rope_theta").GetSingle(),
        };

        int Number(string key) => config.TryGetProperty(key, out var value)
            ? value.GetInt32()
            : throw new InvalidDataException($"config.json has no {key}.");
    }

    private static class Safetensors
    {
        /// <returns>Gives the numbers of a tensor by its name.</returns>
        public static Func<string, float[]> Read(string path)
        {
            var bytes = File.ReadAllBytes(path);
            var data = 8 + (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            var header = JsonDocument.Parse(bytes.AsMemory(8..data)).RootElement.Clone();
            return name =>
            {
                if (!header.TryGetProperty(name, out var entry))
                    throw new InvalidDataException($"{path} has no tensor {name}.");
                var offsets = entry.GetProperty("data_offsets");
                var tensor = bytes.AsSpan(data + offsets[0].GetInt32(), offsets[1].GetInt32() - offsets[0].GetInt32());
                return entry.GetProperty("dtype").GetString() switch
                {
                    "F32" => MemoryMarshal.Cast<byte, float>(tensor).ToArray(),
                    "F16" => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(tensor).ToArray(), half => (float)half),
                    var type => throw new InvalidDataException($"{name} of {path} is {type}; F16 or F32 was expected."),
                };
            };
        }
    }
}
