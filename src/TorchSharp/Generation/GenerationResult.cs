namespace KvCache.TorchSharp;

/// <summary>A piece of a text that is being generated.</summary>
/// <param name="Text">Text; empty in the last piece.</param>
/// <param name="Result">With the last piece: all of it. Null before.</param>
public readonly record struct GenerationPiece(string Text, GenerationResult? Result);

/// <summary>What was generated and what the cache did for it.</summary>
/// <param name="Text">Generated text, without the prompt.</param>
/// <param name="Tokens">Generated tokens.</param>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="HitTokens">Prompt tokens whose KV came from the cache.</param>
/// <param name="TimeToFirstToken">From the call to the first generated token: match, load and prefill of the rest.</param>
/// <param name="LoadTime">Part of it in which the cache was waited for: the match, the first layer, and layers that were not there when the
/// model needed them.</param>
/// <param name="TimeSaved">
/// Estimate: the hit tokens at this call's own prefill speed, less the time of match and load. Negative when the cache cost more
/// than it saved.
/// </param>
/// <param name="LoadedBytes">Bytes loaded from the cache.</param>
/// <param name="StoredBlocks">Blocks that this call added to the cache.</param>
/// <param name="HiddenLoadTime">Time in which layers were on their way while the model computed; it is not in <paramref
/// name="LoadTime"/>.</param>
public sealed record GenerationResult(
    string Text,
    IReadOnlyList<int> Tokens,
    int PromptTokens,
    int HitTokens,
    TimeSpan TimeToFirstToken,
    TimeSpan LoadTime,
    TimeSpan TimeSaved,
    long LoadedBytes,
    int StoredBlocks,
    TimeSpan HiddenLoadTime);
