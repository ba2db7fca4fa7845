namespace KvCache.LLamaSharp;

/// <summary>How an executor works.</summary>
public sealed record LLamaPrefixExecutorOptions
{
    /// <summary>How the context and the cache are joined. Its spare sequence and its lock are the executor's.</summary>
    public LLamaPrefixCacheOptions Prefixes { get; init; } = new();

    /// <summary>
    /// Answers that are generated at the same time, 1 to 63; further ones wait. Each has an equal share of the context:
    /// <c>ContextSize</c> is that of all together. Default 1.
    /// </summary>
    public int Conversations { get; init; } = 1;

    /// <summary>Whether the KV of answers is stored too, for the next turn of a conversation. Default true.</summary>
    public bool StoreAnswers { get; init; } = true;

    /// <summary>How blocks are stored: life, durability, copies. Null (default) for the defaults.</summary>
    public StoreOptions? Store { get; init; }

    /// <summary>Bytes that may wait for being sent to the cache; what does not fit is not stored. Default 256 MiB.</summary>
    public ByteSize PendingSize { get; init; } = new(256 << 20);

    /// <summary>What is wrong with the options: a sentence each; empty when nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var failures = new List<string>(Prefixes.Validate());
        if (Conversations is < 1 or > 63)
            failures.Add($"Conversations is {Conversations}; 1 to 63 was expected.");
        if (PendingSize.Bytes < 0)
            failures.Add($"PendingSize is {PendingSize}; 0 or more was expected.");
        if (Prefixes.SpareSequence is not null || Prefixes.ContextLock is not null)
            failures.Add("SpareSequence and ContextLock are the executor's own; null was expected.");
        return failures;
    }
}
