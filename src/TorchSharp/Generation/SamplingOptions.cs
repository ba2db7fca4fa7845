namespace KvCache.TorchSharp;

/// <summary>How the next token is chosen from the logits.</summary>
public sealed record SamplingOptions
{
    /// <summary>Always the most likely token.</summary>
    public static SamplingOptions Greedy { get; } = new();

    /// <summary>
    /// Divides the logits before the softmax: below 1 sharper, above 1 flatter. 0, the default, takes the most likely token. At most 100.
    /// </summary>
    public float Temperature { get; init; }

    /// <summary>
    /// Nucleus: draws among the most likely tokens whose probabilities together reach this (Holtzman et al., 2020,
    /// "The Curious Case of Neural Text Degeneration"). Above 0; 1, the default, keeps all tokens.
    /// </summary>
    public float TopP { get; init; } = 1;

    /// <summary>Start of the random numbers: equal seeds and equal logits give equal tokens, in any process.</summary>
    public int Seed { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is out of its range.</exception>
    public void Validate()
    {
        if (!(Temperature is >= 0 and <= 100))
            throw new ArgumentOutOfRangeException(nameof(Temperature), Temperature, "Expected a temperature from 0 (greedy) to 100.");
        if (!(TopP is > 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(TopP), TopP, "Expected a top-p above 0 and at most 1 (all tokens).");
    }
}
