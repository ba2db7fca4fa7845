using TorchSharp;

namespace KvCache.InferenceNode.Models;

/// <summary>
/// Rotary position embedding (Su et al., 2021, "RoFormer") for a run of positions. Made once per forward pass and shared
/// by its layers.
/// </summary>
internal sealed class RotaryPositions : IDisposable
{
    private readonly RopeStyle _style;
    private readonly torch.Tensor _cosine; // [tokens, 1, dim / 2], float32
    private readonly torch.Tensor _sine;

    /// <summary>Angles of positions <paramref name="first"/> and the <paramref name="count"/> - 1 after it.</summary>
    public RotaryPositions(LlamaConfig config, int first, int count, torch.Device device)
    {
        _style = config.RopeStyle;
        var pairs = config.HeadDim / 2;
        var exponents = torch.arange(pairs, dtype: torch.ScalarType.Float32, device: device) * (-2.0 / config.HeadDim);
        var frequencies = torch.pow(torch.tensor(config.RopeTheta, torch.ScalarType.Float32, device), exponents);
        var positions = torch.arange(first, first + count, dtype: torch.ScalarType.Float32, device: device);
        var angles = torch.outer(positions, frequencies).unsqueeze(1);
        _cosine = angles.cos().DetachFromDisposeScope();
        _sine = angles.sin().DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cosine.Dispose();
        _sine.Dispose();
    }

    /// <summary>Rotates heads: shape <c>[tokens, heads, dim]</c> in and out, computed in float32.</summary>
    public torch.Tensor Rotate(torch.Tensor heads)
    {
        var halves = _style == RopeStyle.RotateHalves;
        var wide = heads.to(torch.ScalarType.Float32);
        var pairs = halves ? wide.unflatten(2, [2L, -1]) : wide.unflatten(2, [-1L, 2]);
        var axis = halves ? 2 : 3;
        var (x, y) = (pairs.select(axis, 0), pairs.select(axis, 1));
        return torch.stack([x * _cosine - y * _sine, x * _sine + y * _cosine], axis).flatten(2).to(heads.dtype);
    }
}
