using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>Blocks as tensors that were made for them. It owns these: disposing it disposes them.</summary>
public sealed class LoadedTensors : IDisposable
{
    private IReadOnlyList<torch.Tensor> _blocks;

    internal LoadedTensors(IReadOnlyList<torch.Tensor> blocks, LoadResult result)
    {
        _blocks = blocks;
        (Reason, Error) = (result.Reason, result.Error);
    }

    /// <summary>The blocks that could be had, first block first: CPU tensors of shape <c>[layers, parts, tokens, heads, dim]</c>.</summary>
    public IReadOnlyList<torch.Tensor> Blocks => _blocks;

    /// <summary>Why not more; <see cref="MissReason.None"/> when all were loaded.</summary>
    public MissReason Reason { get; }

    /// <summary>What went wrong, in a sentence; null when nothing did, or blocks were only absent.</summary>
    public string? Error { get; }

    /// <summary>Hands the tensors over to the caller, who disposes them.</summary>
    public IReadOnlyList<torch.Tensor> Release()
    {
        var blocks = _blocks;
        _blocks = [];
        return blocks;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var block in Release())
            block.Dispose();
    }
}
