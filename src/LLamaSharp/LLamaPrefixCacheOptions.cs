using LLama;

namespace KvCache.LLamaSharp;

/// <summary>How a context of llama.cpp and a cache are joined.</summary>
public sealed record LLamaPrefixCacheOptions
{
    /// <summary>Tenant of the cache namespace. Default <c>default</c>.</summary>
    public string Tenant { get; init; } = "default";

    /// <summary>Name of the model in the cache namespace; null (default) for the name in the GGUF, else that of its file.</summary>
    public string? Model { get; init; }

    /// <summary>Separates callers inside the tenant who must not share prefixes. Default none.</summary>
    public string Salt { get; init; } = "";

    /// <summary>Tokens of a block, 1 to 4,096. Default 256; small models and short prompts want fewer, and a model with sliding windows not
    /// more than its window has.</summary>
    public int BlockTokens { get; init; } = 256;

    /// <summary>
    /// The GGUF that was loaded, whose digest is in the namespace; null (default) for the one that the context's parameters name. All
    /// parts of a split file are read.
    /// </summary>
    public string? ModelPath { get; init; }

    /// <summary>A digest of the model that the caller knows already, so that the file is not read again; null (default) to compute
    /// it.</summary>
    public string? ModelDigest { get; init; }

    /// <summary>LoRA adapters and their scales, in order. They are loaded and set in the context, and are in the namespace: set none by
    /// other means. Default none.</summary>
    public IReadOnlyList<LLamaLora> LoraAdapters { get; init; } = [];

    /// <summary>A name for what changes the model without changing its file, such as metadata overrides, control vectors or adapters that
    /// were set by other means. Default none.</summary>
    public string Variant { get; init; } = "";

    /// <summary>Sequence that imports and exports pass through, and that nobody else uses; null (default) for the context's last.</summary>
    public int? SpareSequence { get; init; }

    /// <summary>Time that found blocks are kept from eviction until they are loaded. Default 5 s.</summary>
    public TimeSpan Hold { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Bytes that are loaded or exported at once; a block more than fits is one piece. Two pieces for each restore that runs: one is
    /// imported while the next one arrives. Default 8 MiB.
    /// </summary>
    public ByteSize PieceSize { get; init; } = new(8 << 20);

    /// <summary>
    /// Taken for as long as the context is used, by everybody who uses it: a context computes for one at a time. Null (default) for one of
    /// its own (<see cref="LLamaPrefixCache.ContextLock"/>).
    /// </summary>
    public SemaphoreSlim? ContextLock { get; init; }

    /// <summary>What is wrong with the options: a sentence each; empty when nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var failures = new List<string>();
        if (string.IsNullOrEmpty(Tenant))
            failures.Add("Tenant is empty; the name of a tenant was expected, default where silos know none.");
        if (BlockTokens is < 1 or > 4096)
            failures.Add($"BlockTokens is {BlockTokens}; 1 to 4096 was expected.");
        if (Hold < TimeSpan.Zero || Hold > TimeSpan.FromMinutes(10))
            failures.Add($"Hold is {Hold}; 0 to 10 minutes was expected.");
        if (PieceSize.Bytes is < 1 or > 1L << 30)
            failures.Add($"PieceSize is {PieceSize}; 1 byte to 1 GiB was expected.");
        failures.AddRange(LoraAdapters.Where(lora => !float.IsFinite(lora.Scale)).Select(lora =>
            $"The scale of the LoRA adapter {lora.Path} is {lora.Scale}; a finite number was expected."));
        return failures;
    }
}

/// <summary>A LoRA adapter.</summary>
/// <param name="Path">Its GGUF.</param>
/// <param name="Scale">Its scale.</param>
public sealed record LLamaLora(string Path, float Scale = 1);
