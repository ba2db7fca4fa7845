using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>How a model is brought into memory.</summary>
public sealed record ModelLoadOptions
{
    /// <summary>
    /// Element type of weights, activations and KV: float32 (default), bfloat16 or float16. It is part of the KV's layout, so that models
    /// loaded with different types do not share blocks.
    /// </summary>
    public KvDataType DataType { get; init; } = KvDataType.Float32;

    /// <summary>Where to compute; the CPU by default.</summary>
    public torch.Device Device { get; init; } = torch.CPU;

    /// <summary>SentencePiece model of a llama2.c checkpoint; null (default) looks for one beside it. Other models have their
    /// own.</summary>
    public string? TokenizerPath { get; init; }

    /// <summary>Seed of random weights. Other models ignore it.</summary>
    public int Seed { get; init; }

    /// <summary>The element type as TorchSharp names it.</summary>
    /// <exception cref="ArgumentException">The type is not one that models compute in.</exception>
    internal torch.ScalarType ScalarType => DataType switch
    {
        KvDataType.Float32 => torch.ScalarType.Float32,
        KvDataType.Float16 => torch.ScalarType.Float16,
        KvDataType.BFloat16 => torch.ScalarType.BFloat16,
        _ => throw new ArgumentException($"Models compute in Float32, Float16 or BFloat16, not in {DataType}."),
    };
}
