namespace KvCache.Chaos.Checkers;

/// <summary>Sees to one promise. Called from many threads at a time.</summary>
internal abstract class Checker(Journal journal)
{
    /// <summary>The promise, in a word: the table has a column for it.</summary>
    public abstract string Promise { get; }

    protected Journal Journal => journal;

    /// <summary>Somebody has read.</summary>
    public virtual void Read(in BlockRead read)
    {
    }

    /// <summary>Somebody has called.</summary>
    public virtual void Called(in CacheCall call)
    {
    }

    /// <summary>A silo was looked at.</summary>
    public virtual void Sampled(in SiloSample sample)
    {
    }

    /// <summary>A silo has logged a line.</summary>
    public virtual void Logged(int silo, string line)
    {
    }

    /// <summary>A fault is over, or the time between two.</summary>
    public virtual void Ended(Phase phase)
    {
    }

    /// <summary>The promise is broken.</summary>
    /// <param name="at">When, in ticks of the monotonic clock.</param>
    /// <param name="sentence">How.</param>
    protected void Broken(long at, string sentence) => journal.Break(Promise, at, sentence);
}
