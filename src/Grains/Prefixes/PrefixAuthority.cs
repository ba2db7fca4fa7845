namespace KvCache.Grains;

/// <summary>
/// The decisions of a prefix grain, without Orleans, clock or memory: who is the writer, and whether a finished write may
/// become visible. Callers bring the time and whether a live store has the block.
/// </summary>
/// <param name="writeLimit">Time from begin to seal.</param>
public sealed class PrefixAuthority(TimeSpan writeLimit)
{
    private ulong _writer;
    private DateTimeOffset _begun;

    /// <summary>Id of the running write, or 0.</summary>
    public ulong Writer => _writer;

    /// <summary>Whether a write may begin. A write over its limit does not count any more.</summary>
    /// <param name="stored">A live store has confirmed the block.</param>
    /// <param name="now">The time.</param>
    public BeginOutcome MayBegin(bool stored, DateTimeOffset now) =>
        stored ? BeginOutcome.AlreadyStored
        : _writer != 0 && now - _begun < writeLimit ? BeginOutcome.BeingWritten
        : BeginOutcome.Accepted;

    /// <summary>Makes a write the running one.</summary>
    /// <param name="generation">Id of the write, not 0.</param>
    /// <param name="now">The time.</param>
    public void Begin(ulong generation, DateTimeOffset now)
    {
        ArgumentOutOfRangeException.ThrowIfZero(generation);
        _writer = generation;
        _begun = now;
    }

    /// <summary>Whether this write is the running one and inside its limit.</summary>
    public bool IsCurrent(ulong generation, DateTimeOffset now) => generation != 0 && generation == _writer && now - _begun < writeLimit;

    /// <summary>Ends a write, whatever came of it. Does nothing when it is not the running one.</summary>
    public void End(ulong generation)
    {
        if (generation == _writer)
            _writer = 0;
    }

    /// <summary>Ends the running write: it must never become visible.</summary>
    /// <returns>Id of the revoked write, or 0.</returns>
    public ulong Revoke()
    {
        var revoked = _writer;
        _writer = 0;
        return revoked;
    }
}
