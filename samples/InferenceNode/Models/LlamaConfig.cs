namespace KvCache.InferenceNode;

/// <summary>Shape and constants of a Llama model.</summary>
public sealed record LlamaConfig
{
    /// <summary>Elements of a hidden state.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Elements between the projections of the feed-forward network.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Number of layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads, a multiple of <see cref="KvHeads"/>.</summary>
    public required int Heads { get; init; }

    /// <summary>Key/value heads; each serves <c>Heads / KvHeads</c> query heads.</summary>
    public required int KvHeads { get; init; }

    /// <summary>Elements of a head, an even number.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Tokens of the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public required int MaxContext { get; init; }

    /// <summary>Added to the mean square before the root in RMS norms.</summary>
    public required double RmsEpsilon { get; init; }

    /// <summary>Base of the rotation frequencies.</summary>
    public required double RopeTheta { get; init; }

    /// <summary>Which elements rotate together.</summary>
    public required RopeStyle RopeStyle { get; init; }

    /// <summary>Checks that the numbers fit each other.</summary>
    /// <exception cref="ModelFormatException">They do not; the message names what was expected.</exception>
    public void Validate()
    {
        CheckPositive(HiddenSize, "hidden size", 1 << 17);
        CheckPositive(IntermediateSize, "intermediate size", 1 << 19);
        CheckPositive(Layers, "number of layers", KvLayout.MaxLayers);
        CheckPositive(Heads, "number of attention heads", 1 << 12);
        CheckPositive(KvHeads, "number of key/value heads", 1 << 12);
        CheckPositive(HeadDim, "head dimension", 1 << 12);
        CheckPositive(VocabularySize, "vocabulary size", 1 << 24);
        CheckPositive(MaxContext, "context length", 1 << 26);
        if (Heads % KvHeads != 0)
            throw new ModelFormatException($"{Heads} attention heads cannot share {KvHeads} key/value heads evenly; expected a multiple.");
        if (HeadDim % 2 != 0)
            throw new ModelFormatException($"The head dimension is {HeadDim}; expected an even number, as positions rotate pairs.");
        if (!(RmsEpsilon is > 0 and < 1))
            throw new ModelFormatException($"The RMS norm epsilon is {RmsEpsilon}; expected a small positive number such as 1e-5.");
        if (!(RopeTheta > 1 && double.IsFinite(RopeTheta)))
            throw new ModelFormatException($"The RoPE theta is {RopeTheta}; expected a number above 1 such as 10000.");
    }

    private static void CheckPositive(int value, string what, int max)
    {
        if (value < 1 || value > max)
            throw new ModelFormatException($"The {what} is {value}; expected 1 to {max:N0}.");
    }
}
