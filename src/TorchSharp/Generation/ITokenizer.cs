namespace KvCache.TorchSharp;

/// <summary>Translates between text and the token ids of one model.</summary>
public interface ITokenizer
{
    /// <summary>Token that ends a text, if the model has one.</summary>
    int? EndOfSequence { get; }

    /// <summary>Tokens of a text, with the model's start token before them where it expects one.</summary>
    /// <exception cref="ArgumentException">The text has a character that the tokenizer cannot express.</exception>
    int[] Encode(string text);

    /// <summary>Text of tokens; start and end tokens have none.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A token is not in the vocabulary.</exception>
    string Decode(ReadOnlySpan<int> tokens);
}
