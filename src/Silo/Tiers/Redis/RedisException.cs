namespace KvCache.Silo.Tiers.Redis;

/// <summary>What went wrong between the tier and Redis.</summary>
internal enum RedisFailure
{
    /// <summary>Nobody listens there, or the name is unknown.</summary>
    Unreachable,

    /// <summary>The connection ended in the middle of a call.</summary>
    Broken,

    /// <summary>The call took longer than its limit.</summary>
    Deadline,

    /// <summary>The reply is not what the command returns.</summary>
    Protocol,

    /// <summary>Redis answered with an error; the connection can be used again.</summary>
    Refused,
}

/// <summary>A call to Redis that did not succeed.</summary>
internal sealed class RedisException : IOException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="failure">What went wrong.</param>
    /// <param name="message">The same in words; of Redis when it refused.</param>
    /// <param name="inner">Cause.</param>
    public RedisException(RedisFailure failure, string message, Exception? inner = null)
        : base(message, inner) => Failure = failure;

    /// <summary>What went wrong.</summary>
    public RedisFailure Failure { get; }

    /// <summary>First word of Redis' own error, for example <c>OOM</c> or <c>LOADING</c>; empty when Redis did not answer.</summary>
    public string Code { get; private init; } = "";

    /// <summary>Redis is healthy and has no memory for another value.</summary>
    internal bool IsFull => Code == "OOM";

    /// <summary>
    /// This is not the server that is wanted, or not yet: a replica, or one that loads, has lost its master, belongs to a cluster or does
    /// not know us (any more). Another connection may reach another one.
    /// </summary>
    internal bool IsOtherServer => IsOther(Code);

    /// <summary>What only whoever runs the silo can put right: the proof, the rights, or the kind of server.</summary>
    internal bool IsMisconfigured => Code is "WRONGPASS" or "NOAUTH" or "NOPERM" or "CLUSTER";

    /// <summary>Redis answered, and would answer so again.</summary>
    internal bool WouldBeSaidAgain => Failure == RedisFailure.Refused && !IsOtherServer;

    /// <summary>Whether the first word of an error says so.</summary>
    internal static bool IsOther(string code) => code is "READONLY" or "MASTERDOWN" or "NOAUTH" or "WRONGPASS" or "LOADING" or "CLUSTERDOWN"
        or "MOVED" or "NOREPLICAS" or "CLUSTER";

    /// <summary>An error reply, without its leading minus.</summary>
    internal static RedisException OfReply(string text) =>
        new(RedisFailure.Refused, $"Redis refused: {text}") { Code = text.Split(' ', 2)[0] };
}
