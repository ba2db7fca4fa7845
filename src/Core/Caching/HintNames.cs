namespace KvCache.Caching;

/// <summary>Words of hints as texts have them: HTTP, recordings.</summary>
internal static class HintNames
{
    /// <summary>Ends of answers by their names.</summary>
    public static IReadOnlyDictionary<string, AnswerEnd> Ends { get; } = new Dictionary<string, AnswerEnd>
    {
        ["tool_call"] = AnswerEnd.ToolCall,
        ["end_of_turn"] = AnswerEnd.EndOfTurn,
        ["one_shot"] = AnswerEnd.OneShot,
    };

    /// <summary>Kinds of tokens by their names.</summary>
    public static IReadOnlyDictionary<string, TokenKind> Kinds { get; } = new Dictionary<string, TokenKind>
    {
        ["system_prompt"] = TokenKind.SystemPrompt,
        ["document"] = TokenKind.Document,
        ["conversation"] = TokenKind.Conversation,
    };

    /// <summary>The name; null for nothing said.</summary>
    public static string? Of(AnswerEnd end) => Ends.FirstOrDefault(pair => pair.Value == end).Key;

    /// <summary>The name; null for nothing said.</summary>
    public static string? Of(TokenKind kind) => Kinds.FirstOrDefault(pair => pair.Value == kind).Key;
}
