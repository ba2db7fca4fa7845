using System.Text;
using KvCache.TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>One token per byte of UTF-8, and no special tokens. A vocabulary of 128 is ASCII.</summary>
public sealed class ByteTokenizer : ITokenizer
{
    private readonly int _vocabularySize;

    /// <summary>Creates the tokenizer.</summary>
    /// <param name="vocabularySize">Tokens of the model. Those above 255 are no bytes: they decode to U+FFFD.</param>
    /// <param name="endOfSequence">The model's end token, if it has one.</param>
    public ByteTokenizer(int vocabularySize, int? endOfSequence)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(vocabularySize);
        _vocabularySize = vocabularySize;
        EndOfSequence = endOfSequence;
    }

    /// <inheritdoc/>
    public int? EndOfSequence { get; }

    /// <inheritdoc/>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var bytes = Encoding.UTF8.GetBytes(text);
        var tokens = new int[bytes.Length];
        for (var i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] >= _vocabularySize)
                throw new ArgumentException(
                    $"The text has the byte 0x{bytes[i]:x2} at offset {i}; this model knows bytes below 0x{_vocabularySize:x2} only.",
                    nameof(text));
            tokens[i] = bytes[i];
        }

        return tokens;
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> tokens)
    {
        var bytes = new byte[tokens.Length];
        for (var i = 0; i < tokens.Length; i++)
        {
            if ((uint)tokens[i] >= (uint)_vocabularySize)
                throw new ArgumentOutOfRangeException(nameof(tokens), tokens[i], $"Expected tokens from 0 to {_vocabularySize - 1}.");
            bytes[i] = tokens[i] <= byte.MaxValue ? (byte)tokens[i] : byte.MaxValue; // 0xff occurs in no valid UTF-8
        }

        return Encoding.UTF8.GetString(bytes);
    }
}
