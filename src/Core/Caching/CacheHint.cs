namespace KvCache;

/// <summary>How the answer of a request ended: the cheapest strong sign of when its prefix is used again.</summary>
public enum AnswerEnd : byte
{
    /// <summary>Nobody said.</summary>
    Unknown,

    /// <summary>The model called a tool: an agent comes back with its result.</summary>
    ToolCall,

    /// <summary>The turn is over: a person may go on.</summary>
    EndOfTurn,

    /// <summary>The caller says that nothing follows.</summary>
    OneShot,
}

/// <summary>What the tokens of a block are. Carried and recorded; eviction does not use it yet.</summary>
public enum TokenKind : byte
{
    /// <summary>Nobody said.</summary>
    Unknown,

    /// <summary>A system prompt, or descriptions of tools.</summary>
    SystemPrompt,

    /// <summary>A document, or what a tool has answered.</summary>
    Document,

    /// <summary>What a person and the model say to each other.</summary>
    Conversation,
}

/// <summary>
/// What a caller knows of when a prefix is used again. It is advice: it may be lost, changes nothing but what a full cache forgets first,
/// and acts only among the blocks of the caller's own tenant. docs/eviction.md says how.
/// </summary>
public sealed record CacheHint
{
    /// <summary>How the answer of the request ended.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is none of them.</exception>
    public AnswerEnd End
    {
        get;
        init => field = Enum.IsDefined(value)
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, "This is no end of an answer.");
    }

    /// <summary>0 to 100: ten points above 50 make a block worth four times as much, ten below a fourth. Null for nothing said.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is less than 0 or more than 100.</exception>
    public int? Priority
    {
        get;
        init => field = value is null or (>= 0 and <= 100)
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, "A priority is 0 to 100.");
    }

    /// <summary>
    /// How long the blocks are to go last, counted from their last use; null for nothing said. A cache cuts it to the longest that it
    /// grants, and keeps nothing for it that other tenants have a right to.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">It is zero or less.</exception>
    public TimeSpan? Retention
    {
        get;
        init => field = value is null || value > TimeSpan.Zero
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, "A retention is longer than zero; null stands for none.");
    }

    /// <summary>What the tokens are.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is none of them.</exception>
    public TokenKind Kind
    {
        get;
        init => field = Enum.IsDefined(value)
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, "This is no kind of tokens.");
    }

    /// <summary>Whether it says nothing.</summary>
    internal bool IsEmpty => End == AnswerEnd.Unknown && Kind == TokenKind.Unknown && Priority is null && Retention is null;

    /// <summary>The hint that corresponds to <c>cache_control</c> of the form <c>{"type": "ephemeral", "ttl": "5m"}</c>, as chat APIs know
    /// it.</summary>
    /// <param name="ttl"><c>5m</c> or <c>1h</c>; null is five minutes.</param>
    /// <exception cref="ArgumentException">It is something else.</exception>
    public static CacheHint OfCacheControl(string? ttl = null) => ttl switch
    {
        null or "5m" => new CacheHint { Retention = TimeSpan.FromMinutes(5) },
        "1h" => new CacheHint { Retention = TimeSpan.FromHours(1) },
        _ => throw new ArgumentException($"The ttl of cache_control is '{ttl}'; 5m or 1h was expected.", nameof(ttl)),
    };
}
