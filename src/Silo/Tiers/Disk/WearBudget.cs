namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// What may be written, so that a disk lasts: so many bytes a day, evenly, with an hour's worth saved up. Blocks that were used again may
/// take all of it, others what is above its half. For one thread.
/// </summary>
/// <param name="bytesPerDay">Zero for no limit.</param>
/// <param name="time">Clock.</param>
internal sealed class WearBudget(double bytesPerDay, TimeProvider time)
{
    private readonly double _most = bytesPerDay / 24;
    private double _left = bytesPerDay / 24;
    private long _filled = time.GetTimestamp();

    /// <summary>Takes bytes out of the budget.</summary>
    /// <returns>False, and nothing is taken, when they are too many now. The last block may overdraw it.</returns>
    public bool TryTake(long bytes, bool wasReused)
    {
        if (bytesPerDay <= 0)
            return true;
        var now = time.GetTimestamp();
        _left = Math.Min(_most, _left + (time.GetElapsedTime(_filled, now).TotalDays * bytesPerDay));
        _filled = now;
        if (_left <= (wasReused ? 0 : _most / 2))
            return false;
        _left -= bytes;
        return true;
    }
}
