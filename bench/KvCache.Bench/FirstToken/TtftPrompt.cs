using KvCache.InferenceNode;
using KvCache.Silo.Data;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.Bench.FirstToken;

/// <summary>
/// A prompt on a model: a prefix that is cached, and new tokens behind it. One session serves all runs, as the KV memory of an engine is
/// allocated once and written again and again; fresh pages would cost more than a load.
/// </summary>
internal sealed class TtftPrompt : IDisposable
{
    private readonly Action<string> _log;
    private readonly int[] _tokens;
    private readonly HashSet<string> _logged = [];
    private readonly torch.Tensor _expected;

    /// <summary>Computes the prompt once: what every other way has to arrive at.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prefix">Tokens of the prefix, a multiple of a block's.</param>
    /// <param name="more">New tokens.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="log">Is told how the logits compare.</param>
    public TtftPrompt(LlamaModel model, int prefix, int more, int tokensPerBlock, Action<string> log)
    {
        _log = log;
        var random = new Random(1);
        _tokens = [.. Enumerable.Range(0, prefix + more).Select(_ => random.Next(model.VocabularySize))];
        Prefix = KvPrefix.Of(
            CachedGeneration.NamespaceOf(model, new GenerationOptions { TokensPerBlock = tokensPerBlock }), _tokens.AsSpan(0, prefix));
        Session = model.CreateSession();
        _expected = Compute();
        Known = [.. Enumerable.Range(0, Prefix.BlockCount).Select(i => Session.ExportBlock(i * tokensPerBlock, tokensPerBlock))];
        Staging = new StagingRing(Prefix.Namespace.Layout, torch.CPU, blocks: (Prefix.BlockCount + 1) / 2);
        Targets = [.. Enumerable.Range(0, Prefix.BlockCount)
            .Select(i => Staging.View(i / Staging.Blocks, i % Staging.Blocks, Prefix.Namespace.Layout.AllLayers))];
        FirstToken = (int)_expected.argmax().item<long>();
    }

    /// <summary>The cached prefix.</summary>
    public KvPrefix Prefix { get; }

    /// <summary>The KV of whatever ran last.</summary>
    public ICausalSession Session { get; }

    /// <summary>KV of the prefix as the model computed it, a contiguous tensor for each block.</summary>
    public IReadOnlyList<torch.Tensor> Known { get; }

    /// <summary>Where loads go: allocated once, as an engine would.</summary>
    public StagingRing Staging { get; }

    /// <summary>The blocks of <see cref="Staging"/>.</summary>
    public IReadOnlyList<torch.Tensor> Targets { get; }

    /// <summary>Tokens behind the prefix.</summary>
    public ReadOnlyMemory<int> NewTokens => _tokens.AsMemory(Prefix.Chain.TokenCount);

    /// <summary>The token that the model chooses.</summary>
    public int FirstToken { get; }

    /// <summary>Forgets everything, and overwrites it: a load that did nothing must not find what was there before.</summary>
    public void Wipe()
    {
        foreach (var block in Targets)
            block.zero_();
        Import(Targets);
        Session.Truncate(0);
    }

    /// <summary>Puts blocks into the session, as its only content.</summary>
    public void Import(IReadOnlyList<torch.Tensor> blocks)
    {
        Session.Truncate(0);
        foreach (var block in blocks)
            Session.ImportBlock(block);
    }

    /// <summary>Computes what the session lacks.</summary>
    /// <returns>Logits of the last token.</returns>
    public torch.Tensor Compute() => Session.Forward(_tokens.AsSpan(Session.Length));

    /// <summary>Compares logits with those of the first run.</summary>
    /// <exception cref="InvalidOperationException">They choose another token: KV was lost or changed on its way.</exception>
    public void Check(string name, torch.Tensor logits)
    {
        using var scope = torch.NewDisposeScope();
        var token = (int)logits.argmax().item<long>();
        var difference = (logits - _expected).abs().max().item<float>();
        if (token != FirstToken)
            throw new InvalidOperationException(
                $"{name} chose token {token} where the model without a cache chose {FirstToken}; logits differ by up to {difference}.");
        if (_logged.Add(name))
            _log($"{name}: first token {token}, logits {(difference == 0 ? "bit-equal" : $"different by up to {difference:G3}")}");
    }

    public void Dispose()
    {
        _expected.Dispose();
        foreach (var block in Known.Concat(Targets))
            block.Dispose();
        Staging.Dispose();
        Session.Dispose();
    }
}
