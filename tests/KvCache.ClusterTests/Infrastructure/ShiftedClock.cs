namespace KvCache.ClusterTests;

/// <summary>The system's clock, moved forward by tests; timers run as always.</summary>
public sealed class ShiftedClock : TimeProvider
{
    private long _shiftTicks;

    public void Advance(TimeSpan by) => Interlocked.Add(ref _shiftTicks, by.Ticks);

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddTicks(Volatile.Read(ref _shiftTicks));

    public override long GetTimestamp() =>
        base.GetTimestamp() + (long)(TimeSpan.FromTicks(Volatile.Read(ref _shiftTicks)).TotalSeconds * TimestampFrequency);
}
