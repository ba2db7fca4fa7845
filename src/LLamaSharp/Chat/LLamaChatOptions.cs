namespace KvCache.LLamaSharp;

/// <summary>How messages become a prompt.</summary>
public sealed record LLamaChatOptions
{
    /// <summary>
    /// Whether the template in the GGUF is used, where llama.cpp knows it. Default true. Otherwise, and where there is none, a prompt is
    /// plain text: a line for each message that begins with a name, and the assistant's name at the end.
    /// </summary>
    public bool UseTemplate { get; init; } = true;

    /// <summary>Name of the system in plain text. Default <c>System</c>.</summary>
    public string SystemName { get; init; } = "System";

    /// <summary>Name of the user in plain text, which also ends an answer. Default <c>User</c>.</summary>
    public string UserName { get; init; } = "User";

    /// <summary>Name of the assistant in plain text. Default <c>Assistant</c>.</summary>
    public string AssistantName { get; init; } = "Assistant";

    /// <summary>Most tokens of an answer where the request does not say it. Default 512.</summary>
    public int MaxOutputTokens { get; init; } = 512;
}
