namespace KvCache.LLamaSharp;

/// <summary>A piece of an answer.</summary>
/// <param name="Text">Text; empty in the last piece.</param>
/// <param name="Usage">With the last piece: what the answer took. Null before.</param>
public readonly record struct LLamaAnswerPiece(string Text, LLamaAnswerUsage? Usage);

/// <summary>Why an answer ended.</summary>
public enum LLamaAnswerEnd
{
    /// <summary>The model ended it, or it came to one of the texts that end it.</summary>
    Stop,

    /// <summary>It has as many tokens as were allowed, or as fit.</summary>
    Length,
}

/// <summary>What an answer took.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="CachedTokens">Tokens of it whose KV was not computed: loaded from the cache, or still in the context.</param>
/// <param name="ResidentTokens">Those of them that were still in the context, from an answer before.</param>
/// <param name="AnswerTokens">Tokens of the answer.</param>
/// <param name="TimeToFirstToken">From the call to the first token.</param>
/// <param name="Restore">What the cache did for it.</param>
/// <param name="End">Why it ended.</param>
public sealed record LLamaAnswerUsage(
    int PromptTokens, int CachedTokens, int ResidentTokens, int AnswerTokens, TimeSpan TimeToFirstToken, PrefixRestore Restore,
    LLamaAnswerEnd End);
