namespace KvCache.Engine.Storage;

/// <summary>
/// Wakes the threads that follow running writes. Followers are few and writers many: a signal costs one interlocked addition as long as
/// nobody waits.
/// </summary>
/// <remarks>Who waits reads <see cref="Version"/>, looks, and then waits for another version: no signal is lost between.
/// Thread-safe.</remarks>
internal sealed class FollowSignal
{
    private readonly object _gate = new();
    private long _version;
    private int _waiting;

    /// <summary>Number of signals so far.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>Something has happened. May be called under the store's lock: nobody takes that one under this.</summary>
    public void Signal()
    {
        Interlocked.Increment(ref _version);
        if (Volatile.Read(ref _waiting) == 0)
            return;
        lock (_gate)
            Monitor.PulseAll(_gate);
    }

    /// <summary>Waits for a signal behind a version.</summary>
    /// <param name="seen">The version.</param>
    /// <param name="deadline">End of the wait, as <see cref="Environment.TickCount64"/> counts.</param>
    /// <returns>False when the time is over.</returns>
    public bool Wait(long seen, long deadline)
    {
        lock (_gate)
        {
            Interlocked.Increment(ref _waiting); // before the version is read: whoever signals behind that sees it
            try
            {
                while (Version == seen)
                {
                    var left = deadline - Environment.TickCount64;
                    if (left <= 0)
                        return false;
                    Monitor.Wait(_gate, (int)Math.Min(left, int.MaxValue));
                }

                return true;
            }
            finally
            {
                Interlocked.Decrement(ref _waiting);
            }
        }
    }
}
