namespace KvCache.Grains.Prefixes;

/// <summary>
/// The decisions of a prefix grain, without Orleans, clock or memory: who may write. Callers bring the facts (the time, whether a
/// live store has the block, whether the running write still runs) and carry out what follows.
/// </summary>
/// <param name="writeLimit">Time from begin to publication. All times are on a clock that nobody sets.</param>
internal sealed class PrefixAuthority(TimeSpan writeLimit)
{
    private TimeSpan _begun;

    /// <summary>Silo of the running write; null when there is none.</summary>
    public SiloAddress? WriterSilo { get; private set; }

    /// <summary>Id of the write that was accepted last and not ended since, or 0.</summary>
    public ulong Writer { get; private set; }

    /// <summary>Whether a write may begin. A write that ended, or is over its limit, does not stand in the way.</summary>
    /// <param name="stored">A live store, or Redis, has confirmed the block.</param>
    /// <param name="writing">The store of <see cref="WriterSilo"/> still has the write <see cref="Writer"/>.</param>
    /// <param name="now">The time.</param>
    public BeginOutcome MayBegin(bool stored, bool writing, TimeSpan now) =>
        stored ? BeginOutcome.AlreadyStored
        : Writer != 0 && writing && now - _begun < writeLimit ? BeginOutcome.BeingWritten
        : BeginOutcome.Accepted;

    /// <summary>Makes a write the running one.</summary>
    /// <param name="silo">Silo whose store has it.</param>
    /// <param name="generation">Id of the write, not 0.</param>
    /// <param name="now">The time.</param>
    public void Begin(SiloAddress silo, ulong generation, TimeSpan now)
    {
        ArgumentOutOfRangeException.ThrowIfZero(generation);
        Writer = generation;
        WriterSilo = silo;
        _begun = now;
    }

    /// <summary>Whether this write is the running one and inside its limit.</summary>
    public bool IsCurrent(ulong generation, TimeSpan now) => generation != 0 && generation == Writer && now - _begun < writeLimit;

    /// <summary>Ends the running write.</summary>
    public void End()
    {
        Writer = 0;
        WriterSilo = null;
    }
}
