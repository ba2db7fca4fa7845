namespace KvCache.TorchSharp;

/// <summary>
/// A decoder-only language model: what a cache client must know of an inference engine to reuse its KV.
/// </summary>
/// <remarks>The weights are shared by all sessions and do not change; creating sessions is safe from any thread.</remarks>
public interface ICausalModel : IDisposable
{
    /// <summary>Name of the model; part of the cache namespace together with <see cref="Revision"/>.</summary>
    string Name { get; }

    /// <summary>Fingerprint of the weights and of what else decides the KV, so that two different models never share a block.</summary>
    string Revision { get; }

    /// <summary>Number of tokens; ids are 0 to this number less one.</summary>
    int VocabularySize { get; }

    /// <summary>Most tokens of one sequence, prompt and generated text together.</summary>
    int MaxContext { get; }

    /// <summary>Layout of this model's KV in blocks of so many tokens, two parts (keys, then values).</summary>
    /// <exception cref="ArgumentOutOfRangeException">The number of tokens is not positive or makes a block too large.</exception>
    KvLayout CreateLayout(int tokensPerBlock);

    /// <summary>Starts an empty sequence. It must be disposed before the model.</summary>
    ICausalSession CreateSession();
}
