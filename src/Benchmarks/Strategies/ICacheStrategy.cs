namespace KvCache.Benchmarks.Strategies;

/// <summary>A way for inference nodes to keep the KV of prompts.</summary>
internal interface ICacheStrategy : IDisposable
{
    /// <summary>Row suffix.</summary>
    string Name { get; }

    /// <summary>Whether blocks move at all.</summary>
    bool Moves => true;

    /// <summary>Loads the cached start of a prompt into the node's memory.</summary>
    /// <param name="node">The node that got the request.</param>
    /// <param name="prompt">Its blocks.</param>
    /// <param name="destinations">Memory for all of them.</param>
    /// <returns>Blocks that were loaded.</returns>
    int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations);

    /// <summary>Keeps the blocks that the node has computed.</summary>
    /// <param name="node">The node.</param>
    /// <param name="prompt">Blocks of the prompt.</param>
    /// <param name="first">Index of the first computed one.</param>
    /// <param name="sources">Bytes of all of them.</param>
    void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources);
}

/// <summary>Every node computes everything.</summary>
internal sealed class NoCache : ICacheStrategy
{
    public string Name => "none";

    public bool Moves => false;

    public int Load(int node, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations) => 0;

    public void Store(int node, PrefixChain prompt, int first, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
    }

    public void Dispose()
    {
    }
}
