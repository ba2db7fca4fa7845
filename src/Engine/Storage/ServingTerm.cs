using System.Diagnostics;

namespace KvCache.Engine.Storage;

/// <summary>
/// Until when a silo may let its blocks be read, and others become visible: as long as nobody can have declared it dead without its
/// knowing. Behind that, others may have confirmed deletions that it has not heard of. It is compared when somebody reads or publishes,
/// not by a timer, so that a process that stood still serves nothing when it goes on.
/// </summary>
/// <remarks>A lease of time (Gray and Cheriton, "Leases", SOSP 1989), in the time of this process; it begins without an end.
/// Thread-safe.</remarks>
internal sealed class ServingTerm
{
    private long _end = long.MaxValue;
    private volatile bool _isOver;

    /// <summary>Whether nothing may be read or become visible now.</summary>
    public bool IsOver => _isOver || Volatile.Read(ref _end) is var end and < long.MaxValue && Stopwatch.GetTimestamp() > end;

    /// <summary>Sets the end.</summary>
    /// <param name="from">When it was certain that this silo belongs to its cluster, as a <see cref="Stopwatch"/>'s timestamp.</param>
    /// <param name="limit">How long that is good for.</param>
    public void EndsAfter(long from, TimeSpan limit) =>
        Volatile.Write(ref _end, from + (long)(limit.TotalSeconds * Stopwatch.Frequency));

    /// <summary>Nothing is to be read any more, whatever comes: the silo is about to say that it has left.</summary>
    public void EndForGood() => _isOver = true;

    /// <summary>There is no end: nobody else could declare this silo dead.</summary>
    public void HasNoEnd() => Volatile.Write(ref _end, long.MaxValue);
}
