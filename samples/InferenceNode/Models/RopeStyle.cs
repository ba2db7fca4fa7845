namespace KvCache.InferenceNode;

/// <summary>Which elements of a head are rotated together. It follows from how the weights were stored, not from taste.</summary>
public enum RopeStyle
{
    /// <summary>Element i with i + dim/2: Hugging Face checkpoints.</summary>
    RotateHalves,

    /// <summary>Element 2i with 2i + 1: the original Llama and llama2.c.</summary>
    InterleavedPairs,
}
