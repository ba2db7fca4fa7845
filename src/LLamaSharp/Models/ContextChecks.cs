using System.Globalization;
using LLama;
using LLama.Abstractions;
using LLama.Native;

namespace KvCache.LLamaSharp.Models;

/// <summary>What cannot be served, said before llama.cpp is asked: some of it ends the process there, or computes nonsense.</summary>
internal static class ContextChecks
{
    private const int QuantizedBlock = 32; // elements that share a scale

    // Those that llama.cpp takes for a KV cache and that LLamaSharp can name.
    private static readonly Dictionary<GGMLType, bool> IsQuantized = new()
    {
        [GGMLType.GGML_TYPE_F32] = false,
        [GGMLType.GGML_TYPE_F16] = false,
        [GGMLType.GGML_TYPE_Q8_0] = true,
        [GGMLType.GGML_TYPE_Q4_0] = true,
        [GGMLType.GGML_TYPE_Q4_1] = true,
        [GGMLType.GGML_TYPE_Q5_0] = true,
        [GGMLType.GGML_TYPE_Q5_1] = true,
    };

    /// <summary>Refuses parameters with which llama.cpp makes no context. LLamaSharp 0.30 does not notice, and the next call ends the
    /// process.</summary>
    /// <exception cref="NotSupportedException">They are such.</exception>
    public static void BeforeCreation(LLamaWeights weights, IContextParams parameters)
    {
        var model = weights.NativeHandle;
        foreach (var (name, type) in new[] { ("TypeK", parameters.TypeK), ("TypeV", parameters.TypeV) })
        {
            if (type is not { } kind)
                continue;
            if (!IsQuantized.TryGetValue(kind, out var isQuantized))
                throw new NotSupportedException(
                    $"{name} is {kind}; one of {string.Join(", ", IsQuantized.Keys)} was expected.");
            var head = HeadElements(weights, name == "TypeK" ? "key" : "value");
            if (isQuantized && head % QuantizedBlock != 0)
                throw new NotSupportedException(
                    $"{name} is {kind}, which has blocks of {QuantizedBlock} elements, and a head of this model has {head}; llama.cpp "
                    + "makes no such context. F16 or F32 was expected.");
        }

        if (parameters.TypeV is { } v && IsQuantized[v] && parameters.FlashAttention != true)
            throw new NotSupportedException(
                $"TypeV is {v} and FlashAttention is not true; llama.cpp keeps quantized values with flash attention only. Set "
                + "FlashAttention = true, or TypeV to F16.");
        BeforeUse(model, parameters);
    }

    /// <summary>Refuses a context whose sequences have no blocks.</summary>
    /// <exception cref="NotSupportedException">It is such.</exception>
    public static void BeforeUse(SafeLlamaModelHandle model, IContextParams parameters)
    {
        if (model.IsRecurrent || LlamaLibrary.IsHybrid(model))
            throw new NotSupportedException(
                "The model is recurrent, wholly or in some layers: its state is that of all tokens and cannot be cut into blocks. A model "
                + "with attention only was expected.");
        if (model.HasEncoder)
            throw new NotSupportedException("The model has an encoder; a decoder-only model was expected.");
        if (model.IsDiffusion)
            throw new NotSupportedException("The model is a diffusion model; one that computes token after token was expected.");
        if (((int)model.RopeType & 8) != 0)
            throw new NotSupportedException(
                "The model's positions have several dimensions (M-RoPE), which blocks of tokens do not name; one with plain positions was "
                + "expected.");
        if (parameters.Embeddings)
            throw new NotSupportedException("The context computes embeddings; one that generates text was expected (Embeddings = false).");
        if (parameters.KVUnified == false)
            throw new NotSupportedException(
                "KVUnified is false, so that each sequence has memory of its own and no range can be lent to another; true was expected, "
                + "which is LLamaSharp's default.");
        if (model.SWACount > 0 && parameters.SwaFull == false)
            throw new NotSupportedException(
                $"The model has sliding windows of {model.SWACount} tokens and SwaFull is false, so that what left the window is gone; "
                + "true was expected, which is the default.");
    }

    /// <summary>Refuses blocks that are longer than a sliding window: of those llama.cpp gives the last tokens only.</summary>
    /// <exception cref="NotSupportedException">They are.</exception>
    public static void Window(SafeLlamaModelHandle model, int blockTokens)
    {
        if (model.SWACount > 0 && blockTokens > model.SWACount)
            throw new NotSupportedException(
                $"BlockTokens is {blockTokens} and the model has sliding windows of {model.SWACount} tokens; at most so many were "
                + "expected.");
    }

    private static int HeadElements(LLamaWeights weights, string what)
    {
        var architecture = weights.Metadata.GetValueOrDefault("general.architecture", "");
        return weights.Metadata.TryGetValue($"{architecture}.attention.{what}_length", out var text)
            && int.TryParse(text, CultureInfo.InvariantCulture, out var length)
            ? length
            : weights.EmbeddingSize / Math.Max(1, weights.NativeHandle.HeadCount);
    }
}
