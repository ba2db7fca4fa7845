using KvCache.Caching;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>How to generate.</summary>
public sealed record GenerationOptions
{
    /// <summary>Tenant of the cache namespace. Default <c>default</c>.</summary>
    public string Tenant { get; init; } = "default";

    /// <summary>Tokens of a block. Default 256; small models and short prompts want fewer.</summary>
    public int TokensPerBlock { get; init; } = 256;

    /// <summary>Most tokens to generate. Default 128.</summary>
    public int MaxTokens { get; init; } = 128;

    /// <summary>How tokens are chosen. Default greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>LoRA adapter that the model computes with; part of the cache namespace. Default empty.</summary>
    public string LoraAdapter { get; init; } = "";

    /// <summary>What else keeps KV apart that would be interchangeable, such as that of two users; part of the cache namespace. Default
    /// empty.</summary>
    public string Salt { get; init; } = "";

    /// <summary>Life of what is stored, more than zero. Default null: as long as memory lasts.</summary>
    public TimeSpan? TimeToLive { get; init; }

    /// <summary>Where what is stored is to survive. Default memory.</summary>
    public Durability Durability { get; init; }

    /// <summary>Silos that are to keep what is stored, 1 to 16. Default 1.</summary>
    public int Replicas { get; init; } = 1;

    /// <summary>
    /// Changes a loaded block before it is used. For controls in tests: null otherwise. With it nothing is stored, as what
    /// is computed after a changed block must not be taken for the prompt's KV.
    /// </summary>
    public Action<torch.Tensor>? OnLoaded { get; init; }

    /// <summary>How what was computed is stored.</summary>
    internal StoreOptions Storing => new(TimeToLive, Durability: Durability, Replicas: Replicas);

    /// <summary>Checks what no namespace does: that would be told only behind the text.</summary>
    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(TokensPerBlock, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxTokens);
        ArgumentNullException.ThrowIfNull(Sampling);
        Sampling.Validate();
        BlockArguments.CheckOptions(Storing);
    }
}
