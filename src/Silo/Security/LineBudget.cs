namespace KvCache.Silo.Security;

/// <summary>
/// How many lines a log gets of what strangers can cause as often as they like: a few a minute, and how many were left out.
/// </summary>
internal sealed class LineBudget(TimeProvider time)
{
    private const int LinesAMinute = 10;

    private readonly Lock _lock = new();
    private long _minute;
    private int _lines, _left;

    /// <summary>Whether a line may be written.</summary>
    /// <param name="left">Lines that were left out since the last one.</param>
    public bool TryTake(out int left)
    {
        lock (_lock)
        {
            if (time.GetElapsedTime(_minute) >= TimeSpan.FromMinutes(1) || _minute == 0)
                (_minute, _lines) = (time.GetTimestamp(), 0);
            left = _left;
            if (_lines == LinesAMinute)
            {
                _left++;
                return false;
            }

            _lines++;
            _left = 0;
            return true;
        }
    }
}
