using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>
/// Weights of a Llama model, all of one element type and on one device. The tensors live until disposed, whatever dispose
/// scope they were made in.
/// </summary>
public sealed class LlamaWeights : IDisposable
{
    /// <summary>Takes the tensors over.</summary>
    /// <param name="embedding">Shape <c>[vocabulary, hidden]</c>.</param>
    /// <param name="layers">One entry per layer.</param>
    /// <param name="finalNorm">Shape <c>[hidden]</c>.</param>
    /// <param name="head">Shape <c>[vocabulary, hidden]</c>; null when the embedding serves as the head ("tied").</param>
    public LlamaWeights(torch.Tensor embedding, IReadOnlyList<LlamaLayerWeights> layers, torch.Tensor finalNorm, torch.Tensor? head)
    {
        Embedding = embedding.DetachFromDisposeScope();
        Layers = layers;
        FinalNorm = finalNorm.DetachFromDisposeScope();
        Head = head is null ? Embedding : head.DetachFromDisposeScope();
    }

    /// <summary>Shape <c>[vocabulary, hidden]</c>.</summary>
    public torch.Tensor Embedding { get; }

    /// <summary>Weights of each layer.</summary>
    public IReadOnlyList<LlamaLayerWeights> Layers { get; }

    /// <summary>Shape <c>[hidden]</c>.</summary>
    public torch.Tensor FinalNorm { get; }

    /// <summary>Shape <c>[vocabulary, hidden]</c>; the embedding itself when tied.</summary>
    public torch.Tensor Head { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Head.Dispose();
        Embedding.Dispose();
        FinalNorm.Dispose();
        foreach (var layer in Layers)
            layer.Dispose();
    }
}

/// <summary>Weights of one layer. Projections of one input are joined, so that each input is read once.</summary>
public sealed class LlamaLayerWeights : IDisposable
{
    /// <summary>Joins separate projections; the tensors given may be disposed afterwards, except the norms, <paramref name="output"/> and
    /// <paramref name="down"/>.</summary>
    /// <param name="attentionNorm">Shape <c>[hidden]</c>.</param>
    /// <param name="query">Shape <c>[heads × dim, hidden]</c>.</param>
    /// <param name="key">Shape <c>[kv heads × dim, hidden]</c>.</param>
    /// <param name="value">Shape <c>[kv heads × dim, hidden]</c>.</param>
    /// <param name="output">Shape <c>[hidden, heads × dim]</c>.</param>
    /// <param name="feedForwardNorm">Shape <c>[hidden]</c>.</param>
    /// <param name="gate">Shape <c>[intermediate, hidden]</c>.</param>
    /// <param name="up">Shape <c>[intermediate, hidden]</c>.</param>
    /// <param name="down">Shape <c>[hidden, intermediate]</c>.</param>
    public LlamaLayerWeights(
        torch.Tensor attentionNorm, torch.Tensor query, torch.Tensor key, torch.Tensor value, torch.Tensor output,
        torch.Tensor feedForwardNorm, torch.Tensor gate, torch.Tensor up, torch.Tensor down)
    {
        AttentionNorm = attentionNorm.DetachFromDisposeScope();
        QueryKeyValue = torch.cat([query, key, value], 0).DetachFromDisposeScope();
        Output = output.DetachFromDisposeScope();
        FeedForwardNorm = feedForwardNorm.DetachFromDisposeScope();
        GateUp = torch.cat([gate, up], 0).DetachFromDisposeScope();
        Down = down.DetachFromDisposeScope();
    }

    /// <summary>Shape <c>[hidden]</c>.</summary>
    public torch.Tensor AttentionNorm { get; }

    /// <summary>Query rows, then key, then value rows: shape <c>[(heads + 2 × kv heads) × dim, hidden]</c>.</summary>
    public torch.Tensor QueryKeyValue { get; }

    /// <summary>Shape <c>[hidden, heads × dim]</c>.</summary>
    public torch.Tensor Output { get; }

    /// <summary>Shape <c>[hidden]</c>.</summary>
    public torch.Tensor FeedForwardNorm { get; }

    /// <summary>Gate rows, then up rows: shape <c>[2 × intermediate, hidden]</c>.</summary>
    public torch.Tensor GateUp { get; }

    /// <summary>Shape <c>[hidden, intermediate]</c>.</summary>
    public torch.Tensor Down { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        AttentionNorm.Dispose();
        QueryKeyValue.Dispose();
        Output.Dispose();
        FeedForwardNorm.Dispose();
        GateUp.Dispose();
        Down.Dispose();
    }
}
