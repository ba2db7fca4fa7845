using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>What <c>generate --json</c> says about a prompt.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="HitTokens">Prompt tokens whose KV came from the cache.</param>
/// <param name="TtftMs">Time to the first token in milliseconds.</param>
/// <param name="LoadMs">Part of it in which the cache was waited for.</param>
/// <param name="HiddenLoadMs">Time in which layers were on their way while the model computed.</param>
/// <param name="TimeSavedMs">Estimate of what the cache saved; negative when it cost more.</param>
/// <param name="LoadedBytes">Bytes loaded from the cache.</param>
/// <param name="StoredBlocks">Blocks added to the cache.</param>
/// <param name="StoredBytes">Bytes of these blocks.</param>
/// <param name="Tokens">Generated tokens.</param>
/// <param name="Text">Their text.</param>
public sealed record PromptResult(
    int PromptTokens,
    int HitTokens,
    double TtftMs,
    double LoadMs,
    double HiddenLoadMs,
    double TimeSavedMs,
    long LoadedBytes,
    int StoredBlocks,
    long StoredBytes,
    IReadOnlyList<int> Tokens,
    string Text)
{
    internal static PromptResult Of(GenerationResult result, int blockBytes) => new(
        result.PromptTokens,
        result.HitTokens,
        Math.Round(result.TimeToFirstToken.TotalMilliseconds, 3),
        Math.Round(result.LoadTime.TotalMilliseconds, 3),
        Math.Round(result.HiddenLoadTime.TotalMilliseconds, 3),
        Math.Round(result.TimeSaved.TotalMilliseconds, 3),
        result.LoadedBytes,
        result.StoredBlocks,
        (long)result.StoredBlocks * blockBytes,
        result.Tokens,
        result.Text);
}

/// <summary>The lines that the node writes, for programs that read them.</summary>
public static class NodeOutput
{
    /// <summary>Writes a result as one line.</summary>
    public static string Write(PromptResult result) => JsonSerializer.Serialize(result, NodeJsonContext.Default.PromptResult);

    /// <summary>Writes statistics as one line.</summary>
    public static string Write(KvCacheStatistics statistics) =>
        JsonSerializer.Serialize(statistics, NodeJsonContext.Default.KvCacheStatistics);

    /// <summary>Reads a line that <c>generate --json</c> wrote for a prompt.</summary>
    /// <exception cref="JsonException">It is something else.</exception>
    public static PromptResult ReadResult(string line) => JsonSerializer.Deserialize(line, NodeJsonContext.Default.PromptResult)!;

    /// <summary>Reads the line that <c>generate --statistics</c> ends with.</summary>
    /// <exception cref="JsonException">It is something else.</exception>
    public static KvCacheStatistics ReadStatistics(string line) =>
        JsonSerializer.Deserialize(line, NodeJsonContext.Default.KvCacheStatistics)!;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(PromptResult))]
[JsonSerializable(typeof(KvCacheStatistics))]
[JsonSerializable(typeof(string[]))]
internal sealed partial class NodeJsonContext : JsonSerializerContext;
