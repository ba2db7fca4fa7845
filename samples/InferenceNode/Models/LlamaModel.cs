using KvCache.InferenceNode.Loading;
using KvCache.InferenceNode.Models;
using KvCache.TorchSharp;
using TorchSharp;
using static TorchSharp.torch.nn;

namespace KvCache.InferenceNode;

/// <summary>
/// The Llama architecture (Touvron et al., 2023): RMS norms before each part, rotary positions, grouped-query attention,
/// SwiGLU, no biases.
/// </summary>
public sealed class LlamaModel : ICausalModel
{
    private readonly LlamaWeights _weights;
    private readonly long[] _projections; // rows of query, key and value in the joined projection

    /// <summary>Takes the weights over. Their shapes are the loader's business: see <see cref="LlamaWeightsReader"/>.</summary>
    /// <param name="name">Name for the cache namespace.</param>
    /// <param name="revision">Fingerprint of weights and configuration.</param>
    /// <param name="config">Shape and constants.</param>
    /// <param name="weights">Weights; their element type (float32, float16 or bfloat16) is also that of the KV.</param>
    /// <exception cref="ModelFormatException">The configuration is invalid, or the weights have another number of layers or element
    /// type.</exception>
    public LlamaModel(string name, string revision, LlamaConfig config, LlamaWeights weights)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(weights);
        config.Validate();
        if (weights.Layers.Count != config.Layers)
            throw new ModelFormatException($"Weights of {weights.Layers.Count} layers were given; the configuration says {config.Layers}.");
        Name = name;
        Revision = revision;
        Config = config;
        _weights = weights;
        _projections = [config.Heads * config.HeadDim, config.KvHeads * config.HeadDim, config.KvHeads * config.HeadDim];
        DataType = weights.Embedding.dtype switch
        {
            torch.ScalarType.Float32 => KvDataType.Float32,
            torch.ScalarType.Float16 => KvDataType.Float16,
            torch.ScalarType.BFloat16 => KvDataType.BFloat16,
            var other => throw new ModelFormatException($"The weights are {other}; expected Float32, Float16 or BFloat16."),
        };
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public string Revision { get; }

    /// <summary>Shape and constants.</summary>
    public LlamaConfig Config { get; }

    /// <summary>Element type of weights, activations and KV. Norms and rotations are computed in float32.</summary>
    public KvDataType DataType { get; }

    /// <inheritdoc/>
    public int VocabularySize => Config.VocabularySize;

    /// <inheritdoc/>
    public int MaxContext => Config.MaxContext;

    /// <summary>Where weights and KV are.</summary>
    internal torch.Device Device => _weights.Embedding.device;

    /// <summary>Element type as TorchSharp names it.</summary>
    internal torch.ScalarType ScalarType => _weights.Embedding.dtype;

    /// <inheritdoc/>
    public KvLayout CreateLayout(int tokensPerBlock) =>
        KvLayout.Create(Config.Layers, Config.KvHeads, Config.HeadDim, DataType, tokensPerBlock);

    /// <inheritdoc/>
    public ICausalSession CreateSession() => new LlamaSession(this);

    /// <inheritdoc/>
    public void Dispose() => _weights.Dispose();

    /// <summary>Computes a run of tokens and writes their KV.</summary>
    /// <param name="tokens">Token ids, checked by the caller.</param>
    /// <param name="first">Position of the first token; the KV of all earlier ones is in <paramref name="storage"/>.</param>
    /// <param name="storage">Shape <c>[layers, 2, capacity, kv heads, dim]</c>, with room for the tokens.</param>
    /// <param name="logits">Whether the logits are wanted; only the last run of a prompt needs them.</param>
    /// <returns>Logits of the last token, float32 <c>[vocabulary]</c>, in the outer dispose scope; null when not wanted.</returns>
    internal torch.Tensor? Forward(ReadOnlySpan<int> tokens, int first, torch.Tensor storage, bool logits)
    {
        using var run = Begin(tokens, first);
        for (var i = 0; i < Config.Layers; i++)
            Advance(run, i, storage);
        return logits ? Finish(run) : null;
    }

    /// <summary>Starts a run of tokens, which goes on with <see cref="Advance"/> for each layer.</summary>
    internal LlamaRun Begin(ReadOnlySpan<int> tokens, int first)
    {
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var ids = torch.tensor(tokens.ToArray(), torch.ScalarType.Int64, Device);
        var hidden = _weights.Embedding.index_select(0, ids).DetachFromDisposeScope();
        var mask = tokens.Length > 1 ? CausalMask(first, tokens.Length).DetachFromDisposeScope() : null;
        return new LlamaRun(first, tokens.Length, hidden, new RotaryPositions(Config, first, tokens.Length, Device), mask);
    }

    /// <summary>Computes a layer of a run; the KV of all earlier tokens is in this layer of the storage.</summary>
    internal void Advance(LlamaRun run, int layer, torch.Tensor storage)
    {
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        run.Hidden = Layer(_weights.Layers[layer], run.Hidden, run.Positions, run.Mask, storage.select(0, layer), run.First)
            .DetachFromDisposeScope();
    }

    /// <summary>Logits of a run's last token, in the caller's dispose scope.</summary>
    internal torch.Tensor Finish(LlamaRun run)
    {
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var last = Norm(run.Hidden.select(0, run.Count - 1), _weights.FinalNorm);
        return functional.linear(last, _weights.Head).to(torch.ScalarType.Float32).MoveToOuterDisposeScope();
    }

    private torch.Tensor Layer(
        LlamaLayerWeights weights, torch.Tensor hidden, RotaryPositions positions, torch.Tensor? mask, torch.Tensor storage, int first)
    {
        using var scope = torch.NewDisposeScope();
        hidden = hidden + Attention(weights, Norm(hidden, weights.AttentionNorm), positions, mask, storage, first);
        var gateUp = functional.linear(Norm(hidden, weights.FeedForwardNorm), weights.GateUp).chunk(2, 1);
        hidden = hidden + functional.linear(functional.silu(gateUp[0]) * gateUp[1], weights.Down);
        return hidden.MoveToOuterDisposeScope();
    }

    private torch.Tensor Attention(
        LlamaLayerWeights weights, torch.Tensor input, RotaryPositions positions, torch.Tensor? mask, torch.Tensor storage, int first)
    {
        var count = input.shape[0];
        var parts = functional.linear(input, weights.QueryKeyValue).split(_projections, 1);
        var query = positions.Rotate(parts[0].unflatten(1, [Config.Heads, Config.HeadDim]));
        var key = positions.Rotate(parts[1].unflatten(1, [Config.KvHeads, Config.HeadDim]));
        storage.select(0, 0).narrow(0, first, count).copy_(key);
        storage.select(0, 1).narrow(0, first, count).copy_(parts[2].unflatten(1, [Config.KvHeads, Config.HeadDim]));

        // [kv heads, group, tokens, dim]: a KV head is seen by its group of query heads through a stride of 0, without a copy.
        var group = Config.Heads / Config.KvHeads;
        var present = storage.narrow(1, 0, first + count).permute(0, 2, 1, 3).unsqueeze(2)
            .expand(2, Config.KvHeads, group, first + count, Config.HeadDim);
        var queries = query.unflatten(1, [Config.KvHeads, group]).permute(1, 2, 0, 3);
        var mixed = functional.scaled_dot_product_attention(queries, present.select(0, 0), present.select(0, 1), mask);
        return functional.linear(mixed.permute(2, 0, 1, 3).reshape(count, -1), weights.Output);
    }

    /// <summary>RMS norm (Zhang and Sennrich, 2019), in float32 as the reference implementation does.</summary>
    private torch.Tensor Norm(torch.Tensor x, torch.Tensor weight)
    {
        var wide = x.to(torch.ScalarType.Float32);
        return (wide * torch.rsqrt(wide.square().mean([-1L], keepdim: true) + Config.RmsEpsilon)).to(weight.dtype) * weight;
    }

    /// <summary>True where a token may look: shape <c>[count, first + count]</c>.</summary>
    private torch.Tensor CausalMask(int first, int count) =>
        torch.ones([count, first + count], torch.ScalarType.Bool, Device).tril(first);
}
