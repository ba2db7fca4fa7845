using LLama.Native;

namespace KvCache.LLamaSharp.Execution;

/// <summary>A sequence of the context, and what is known of its content.</summary>
/// <param name="sequence">Number of the sequence.</param>
internal sealed class ConversationSlot(int sequence)
{
    private readonly Lock _lock = new();
    private int _stored;

    public int Sequence => sequence;

    /// <summary>Tokens whose KV the sequence holds, from position 0 on.</summary>
    public List<LLamaToken> Tokens { get; } = [];

    /// <summary>
    /// Whether every token was computed behind those that stand before it now. Not so after a context shift: then its KV belongs to no
    /// prefix, whatever the positions say.
    /// </summary>
    public bool IsPrefix { get; set; } = true;

    /// <summary>Blocks from the first on that are stored, or on their way.</summary>
    public int StoredBlocks => Volatile.Read(ref _stored);

    /// <summary>When it was used last; the one that was used longest ago is overwritten first.</summary>
    public long Used { get; set; }

    /// <summary>Blocks before this one are stored, or on their way.</summary>
    public void Stored(int end)
    {
        lock (_lock)
            _stored = end;
    }

    /// <summary>Blocks from this one on are not stored. Said of another prompt than that of the slot now, it costs a store of what is
    /// stored already, and nothing else.</summary>
    public void NotStored(int first)
    {
        lock (_lock)
            _stored = Math.Min(_stored, first);
    }

    /// <summary>Tokens at the start of a prompt that it holds.</summary>
    public int Common(ReadOnlySpan<LLamaToken> prompt)
    {
        if (!IsPrefix)
            return 0;
        var most = Math.Min(prompt.Length, Tokens.Count);
        var common = 0;
        while (common < most && prompt[common] == Tokens[common])
            common++;
        return common;
    }
}
