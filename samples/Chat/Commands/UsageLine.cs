using System.Globalization;
using KvCache.LLamaSharp;

namespace KvCache.Chat.Commands;

/// <summary>What an answer took, in one line.</summary>
internal static class UsageLine
{
    public static string Of(LLamaAnswerUsage usage)
    {
        var resident = usage.ResidentTokens > 0 ? $", {usage.ResidentTokens} of them still in the context" : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"first token after {usage.TimeToFirstToken.TotalMilliseconds:0.0} ms; {usage.CachedTokens} of {usage.PromptTokens} prompt "
            + $"tokens cached{resident}; {usage.AnswerTokens} tokens answered");
    }
}
