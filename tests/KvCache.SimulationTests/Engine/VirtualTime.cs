namespace KvCache.Simulation;

/// <summary>The time of a schedule, which stands still while a step runs.</summary>
internal sealed class VirtualTime
{
    public static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public DateTimeOffset Now { get; private set; } = Start;

    public TimeSpan Elapsed => Now - Start;

    public void Advance(TimeSpan by) => Now += by;
}

/// <summary>The clock of one machine: it goes right, but it was set wrong.</summary>
internal sealed class SkewedClock(VirtualTime time, TimeSpan skew) : TimeProvider
{
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public TimeSpan Skew => skew;

    public override DateTimeOffset GetUtcNow() => time.Now + skew;

    public override long GetTimestamp() => time.Elapsed.Ticks;
}
