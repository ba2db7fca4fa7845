using System.Runtime.InteropServices;

namespace KvCache.TorchSharp.Generation;

/// <summary>Text of tokens that come one by one.</summary>
/// <remarks>
/// A token may be a part of a character, and what a tokenizer makes of a token depends on the one before. So a token is decoded together
/// with those of the piece before, and nothing is told while the text ends in a character that is not whole (as vLLM's
/// <c>detokenize_incrementally</c> does).
/// </remarks>
internal sealed class TextPieces(ITokenizer tokenizer)
{
    private const char Replacement = '\uFFFD';

    private readonly List<int> _tokens = [];
    private int _before; // where the piece before begins
    private int _told; // behind its last token

    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>Adds a token.</summary>
    /// <returns>The characters that are whole now and were not told; often none.</returns>
    public string Append(int token)
    {
        _tokens.Add(token);
        return Take(isEnd: false);
    }

    /// <summary>What is left at the end, whole or not.</summary>
    public string End() => Take(isEnd: true);

    private string Take(bool isEnd)
    {
        var tokens = CollectionsMarshal.AsSpan(_tokens);
        var text = tokenizer.Decode(tokens[_before..]);
        if (text.EndsWith(Replacement) && !isEnd)
            return "";
        var told = tokenizer.Decode(tokens[_before.._told]);
        (_before, _told) = (_told, tokens.Length);
        return text.Length > told.Length ? text[told.Length..] : "";
    }
}
