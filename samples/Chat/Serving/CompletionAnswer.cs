using System.Text.Json.Nodes;
using KvCache.LLamaSharp;
using Microsoft.Extensions.AI;

namespace KvCache.Chat.Serving;

/// <summary>OpenAI's objects for chat completions.</summary>
internal sealed class CompletionAnswer(string model)
{
    private readonly string _id = "chatcmpl-" + Guid.NewGuid().ToString("N");
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    public JsonObject Whole(string text, ChatFinishReason? reason, LLamaAnswerUsage usage) => With(
        "chat.completion",
        new JsonArray(new JsonObject
        {
            ["index"] = 0,
            ["message"] = new JsonObject { ["role"] = "assistant", ["content"] = text, ["refusal"] = null },
            ["logprobs"] = null,
            ["finish_reason"] = reason?.Value ?? "stop",
        }),
        usage);

    public JsonObject Piece(string? text, bool isFirst, ChatFinishReason? reason)
    {
        var delta = new JsonObject();
        if (isFirst)
            delta["role"] = "assistant";
        if (text is not null)
            delta["content"] = text;
        return With(
            "chat.completion.chunk",
            new JsonArray(new JsonObject { ["index"] = 0, ["delta"] = delta, ["logprobs"] = null, ["finish_reason"] = reason?.Value }),
            null);
    }

    /// <summary>The piece behind the last one, which has the usage and no choice.</summary>
    public JsonObject Usage(LLamaAnswerUsage usage) => With("chat.completion.chunk", [], usage);

    public static JsonObject Error(string message, string type) => new()
    {
        ["error"] = new JsonObject { ["message"] = message, ["type"] = type, ["param"] = null, ["code"] = null },
    };

    private JsonObject With(string kind, JsonArray choices, LLamaAnswerUsage? usage)
    {
        var answer = new JsonObject
        {
            ["id"] = _id,
            ["object"] = kind,
            ["created"] = _created,
            ["model"] = model,
            ["choices"] = choices,
        };
        if (usage is not null)
        {
            answer["usage"] = new JsonObject
            {
                ["prompt_tokens"] = usage.PromptTokens,
                ["completion_tokens"] = usage.AnswerTokens,
                ["total_tokens"] = usage.PromptTokens + usage.AnswerTokens,
                ["prompt_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.CachedTokens },
            };
        }

        return answer;
    }
}
