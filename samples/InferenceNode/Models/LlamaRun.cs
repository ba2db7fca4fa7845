using TorchSharp;

namespace KvCache.InferenceNode.Models;

/// <summary>
/// A run of tokens on its way through the layers. It owns its tensors, outside of every dispose scope: scopes belong to a thread, and a run
/// that waits for the KV of a layer may go on on another one.
/// </summary>
internal sealed class LlamaRun(int first, int count, torch.Tensor hidden, RotaryPositions positions, torch.Tensor? mask) : IDisposable
{
    private torch.Tensor _hidden = hidden;

    /// <summary>Position of the first token.</summary>
    public int First => first;

    /// <summary>Number of tokens.</summary>
    public int Count => count;

    /// <summary>What the last layer gave, shape <c>[tokens, width]</c>. The one before is disposed when it is set.</summary>
    public torch.Tensor Hidden
    {
        get => _hidden;
        set
        {
            _hidden.Dispose();
            _hidden = value;
        }
    }

    /// <summary>Rotations of the tokens' positions.</summary>
    public RotaryPositions Positions => positions;

    /// <summary>Which tokens see which; null for a single token, which sees all.</summary>
    public torch.Tensor? Mask => mask;

    /// <inheritdoc/>
    public void Dispose()
    {
        _hidden.Dispose();
        positions.Dispose();
        mask?.Dispose();
    }
}
