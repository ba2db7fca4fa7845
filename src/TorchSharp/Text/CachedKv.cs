using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>K and V of one layer of a text. It owns these tensors: disposing it disposes them.</summary>
public sealed class CachedKv : IDisposable
{
    internal CachedKv(torch.Tensor k, torch.Tensor v) => (K, V) = (k, v);

    /// <summary>Keys.</summary>
    public torch.Tensor K { get; }

    /// <summary>Values.</summary>
    public torch.Tensor V { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        K.Dispose();
        V.Dispose();
    }
}
