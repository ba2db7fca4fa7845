namespace KvCache;

/// <summary>A run of consecutive layers of a block.</summary>
/// <param name="First">Index of the first layer, from 0.</param>
/// <param name="Count">Number of layers.</param>
public readonly record struct LayerRange(int First, int Count)
{
    /// <summary>Index after the last layer.</summary>
    public int End => First + Count;

    /// <inheritdoc/>
    public override string ToString() => $"[{First}..{End})";
}
