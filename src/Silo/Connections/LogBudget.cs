namespace KvCache.Silo.Connections;

/// <summary>Bounds the lines that strangers can write into a log: ten in so long, then their number is all that is told.</summary>
/// <param name="time">Clock.</param>
/// <param name="span">In how long.</param>
internal sealed class LogBudget(TimeProvider time, TimeSpan span)
{
    private const int Lines = 10;

    private readonly Lock _lock = new();
    private long _began;
    private int _taken;
    private long _suppressed;

    /// <summary>Whether a line may be written.</summary>
    /// <param name="suppressed">Lines that were not written since the last one that was.</param>
    public bool TryTake(out long suppressed)
    {
        lock (_lock)
        {
            if (_taken == 0 || time.GetElapsedTime(_began) >= span)
                (_began, _taken) = (time.GetTimestamp(), 0);
            suppressed = _suppressed;
            if (_taken == Lines)
            {
                _suppressed++;
                return false;
            }

            _taken++;
            _suppressed = 0;
            return true;
        }
    }
}
