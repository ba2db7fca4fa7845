using KvCache.TorchSharp;
using Microsoft.ML.Tokenizers;

namespace KvCache.InferenceNode;

/// <summary>A SentencePiece model as Llama uses it: a start token before every text, none after it.</summary>
public sealed class SentencePieceTokenizer : ITokenizer
{
    private readonly LlamaTokenizer _tokenizer;
    private readonly int _vocabularySize;

    private SentencePieceTokenizer(LlamaTokenizer tokenizer, int vocabularySize, int endOfSequence)
    {
        _tokenizer = tokenizer;
        _vocabularySize = vocabularySize;
        EndOfSequence = endOfSequence;
    }

    /// <inheritdoc/>
    public int? EndOfSequence { get; }

    /// <summary>Opens a model file.</summary>
    /// <param name="path">The file, usually <c>tokenizer.model</c>.</param>
    /// <param name="vocabularySize">Tokens of the language model; the file may have fewer.</param>
    /// <param name="endOfSequence">End token; null takes the one that the file names.</param>
    /// <exception cref="ModelFormatException">The file is not a SentencePiece model that Llama could use.</exception>
    public static SentencePieceTokenizer Open(string path, int vocabularySize, int? endOfSequence)
    {
        var tokenizer = Read(path, vocabularySize);
        return new SentencePieceTokenizer(tokenizer, vocabularySize, endOfSequence ?? tokenizer.EndOfSentenceId);
    }

    /// <summary>Opens the tokenizer of a llama2.c model. Those were trained with a start token between stories, and never saw an end
    /// token.</summary>
    internal static SentencePieceTokenizer OpenForLlama2C(string path, int vocabularySize)
    {
        var tokenizer = Read(path, vocabularySize);
        return new SentencePieceTokenizer(tokenizer, vocabularySize, tokenizer.BeginningOfSentenceId);
    }

    /// <inheritdoc/>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return [.. _tokenizer.EncodeToIds(text, addBeginningOfSentence: true, addEndOfSentence: false)];
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> tokens)
    {
        foreach (var token in tokens)
        {
            if ((uint)token >= (uint)_vocabularySize)
                throw new ArgumentOutOfRangeException(nameof(tokens), token, $"Expected tokens from 0 to {_vocabularySize - 1}.");
        }

        return _tokenizer.Decode(tokens.ToArray());
    }

    private static LlamaTokenizer Read(string path, int vocabularySize)
    {
        LlamaTokenizer tokenizer;
        try
        {
            using var stream = File.OpenRead(path);
            tokenizer = LlamaTokenizer.Create(stream, addBeginOfSentence: true, addEndOfSentence: false);
        }
        catch (Exception e)
        {
            // The package names no exceptions; a broken file throws whatever its parser met first.
            throw new ModelFormatException($"{path} is not a SentencePiece model that Llama could use: {e.Message}", e);
        }

        return tokenizer.Vocabulary.Count <= vocabularySize
            ? tokenizer
            : throw new ModelFormatException($"{path} has {tokenizer.Vocabulary.Count} tokens, but the model only {vocabularySize}.");
    }
}
