namespace KvCache.Silo.Connections;

/// <summary>Bounds the lines that strangers can write into a log: so many a second, then their number is all that is told.</summary>
/// <param name="perSecond">Lines a second.</param>
internal sealed class LogBudget(int perSecond = 10)
{
    private readonly Lock _lock = new();
    private long _second;
    private int _taken;
    private long _suppressed;

    /// <summary>Whether a line may be written.</summary>
    /// <param name="suppressed">Lines that were not written since the last one that was.</param>
    public bool TryTake(out long suppressed)
    {
        lock (_lock)
        {
            var second = Environment.TickCount64 / 1000;
            if (second != _second)
                (_second, _taken) = (second, 0);
            suppressed = _suppressed;
            if (_taken == perSecond)
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
