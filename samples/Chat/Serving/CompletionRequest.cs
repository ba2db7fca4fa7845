using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.AI;

namespace KvCache.Chat.Serving;

/// <summary>What of OpenAI's request for a chat completion is understood; the rest is left unread.</summary>
internal sealed record CompletionRequest
{
    public IReadOnlyList<RequestMessage>? Messages { get; init; }

    public bool Stream { get; init; }

    [JsonPropertyName("stream_options")]
    public StreamChoice? StreamOptions { get; init; }

    [JsonPropertyName("max_tokens")]
    public int? MaxTokens { get; init; }

    [JsonPropertyName("max_completion_tokens")]
    public int? MaxCompletionTokens { get; init; }

    public float? Temperature { get; init; }

    [JsonPropertyName("top_p")]
    public float? TopP { get; init; }

    [JsonPropertyName("frequency_penalty")]
    public float? FrequencyPenalty { get; init; }

    [JsonPropertyName("presence_penalty")]
    public float? PresencePenalty { get; init; }

    public long? Seed { get; init; }

    /// <summary>A text or several.</summary>
    public JsonElement Stop { get; init; }

    /// <summary>Number of answers.</summary>
    public int? N { get; init; }

    /// <summary>What is wrong with it, or null.</summary>
    public string? FindProblem() => this switch
    {
        { Messages: null or { Count: 0 } } => "'messages' is empty; at least one message was expected.",
        { N: > 1 } => "'n' is more than 1; one answer was expected.",
        { MaxTokens: < 1 } or { MaxCompletionTokens: < 1 } => "'max_tokens' is less than 1.",
        _ => null,
    };

    public ChatOptions ToOptions() => new()
    {
        MaxOutputTokens = MaxCompletionTokens ?? MaxTokens,
        Temperature = Temperature,
        TopP = TopP,
        FrequencyPenalty = FrequencyPenalty,
        PresencePenalty = PresencePenalty,
        Seed = Seed,
        StopSequences = Stop.ValueKind switch
        {
            JsonValueKind.String => [Stop.GetString()!],
            JsonValueKind.Array => [.. Stop.EnumerateArray().Select(text => text.ToString())],
            _ => null,
        },
    };

    public IEnumerable<ChatMessage> ToMessages() => Messages!.Select(message => new ChatMessage(
        message.Role switch
        {
            "system" or "developer" => ChatRole.System,
            "assistant" => ChatRole.Assistant,
            _ => ChatRole.User,
        },
        message.Text));
}

/// <summary>A message.</summary>
internal sealed record RequestMessage(string? Role, JsonElement Content)
{
    /// <summary>Its text: a string, or parts with a text each.</summary>
    public string Text => Content.ValueKind switch
    {
        JsonValueKind.String => Content.GetString()!,
        JsonValueKind.Array => string.Concat(Content.EnumerateArray()
            .Select(part => part.TryGetProperty("text", out var text) ? text.ToString() : "")),
        _ => "",
    };
}

/// <summary>What a stream is to have.</summary>
internal sealed record StreamChoice([property: JsonPropertyName("include_usage")] bool IncludeUsage);
